// What the page's modules may not do. Names that are nowhere defined are found by tsc.
import js from "@eslint/js";

const forbidden = (selector, message) => ({ selector, message });

export default [
  js.configs.recommended,
  {
    files: ["src/nextword/page/**/*.js"],
    languageOptions: { ecmaVersion: 2022, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-undef": "off",
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
      "no-console": "error",
      "no-eval": "error",
      "no-restricted-syntax": [
        "error",
        forbidden("MemberExpression[object.name='Math'][property.name='random']", "every number is the model's"),
        forbidden("MemberExpression[property.name='getRandomValues']", "every number is the model's"),
        forbidden("MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]", "texts are no markup"),
        forbidden("ImportExpression", "a page on disk holds its modules as data: URLs, which import by name only"),
        forbidden("ImportDeclaration[source.value!=/^nextword\\//]", "modules are imported by their bare names"),
      ],
      "max-lines": ["error", { max: 310 }],
    },
  },
];
