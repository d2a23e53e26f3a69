/**
 * The shapes that the page's parts hand to each other. Types only: nothing here runs.
 *
 * L layers, H query heads, T tokens, D d_model, V vocabulary, P rotating pairs of a head.
 *
 * @typedef {"en" | "ko"} Language
 *
 * @typedef {object} Tensor
 * @property {Float32Array | Int32Array} data
 * @property {number[]} shape
 *
 * @typedef {object} Frame What one answer of the server holds: numbers by name, and what they are about.
 * @property {any} about
 * @property {Record<string, Tensor>} tensors
 *
 * @typedef {object} Token One token as a reader sees it.
 * @property {number} id
 * @property {string} text Its text; of a fragment, the text of the whole that it is a part of.
 * @property {number} part 1 for the first token of its whole.
 * @property {number} parts Tokens of the whole; more than 1 marks a fragment.
 *
 * @typedef {object} ModelFacts
 * @property {string} name
 * @property {string} backend
 * @property {string} dtype
 * @property {string} file
 * @property {number} layers
 * @property {number} heads
 * @property {number} kv_heads
 * @property {number} d_model
 * @property {number} head_dim
 * @property {number} d_ff
 * @property {number} vocab_size
 * @property {number} context_length
 * @property {number} parameters
 * @property {"learned" | "rotary"} position
 * @property {string} residual
 * @property {string} norm
 * @property {string} activation
 * @property {boolean} tie_embeddings
 * @property {number} bytes
 *
 * @typedef {object} TraceMetadata What a look frame is about.
 * @property {string} trace The trace's id on the server; "" in a file.
 * @property {ModelFacts} model
 * @property {string} text
 * @property {Token[]} tokens
 * @property {number} dropped Tokens that the model did not see.
 * @property {string[]} edits As Python.
 * @property {Record<string, string>} texts Of tokens that are shown, by id.
 * @property {number} seconds
 *
 * @typedef {{kind: "head", layer: number, head: number, factor: number}} HeadEdit
 * @typedef {{kind: "mlp", layer: number}} MlpEdit
 * @typedef {{kind: "layer", layer: number}} LayerEdit
 * @typedef {{kind: "patch", row: number, position: number, from_ids: number[], from_position: number}} PatchEdit
 * @typedef {{kind: "token", position: number, id: number, text?: string}} TokenEdit `text` is for the reader.
 * @typedef {HeadEdit | MlpEdit | LayerEdit | PatchEdit | TokenEdit} EditSpec
 *
 * @typedef {{kind: "block", layer: number} | {kind: "turns", layer: number, head: number}} PartSpec
 *
 * @typedef {object} Sampling
 * @property {number} temperature
 * @property {number | null} top_k
 * @property {number} top_p
 * @property {number} min_p
 * @property {number} seed
 *
 * @typedef {{model: string | null, text?: string, ids?: number[]}} RequestInput Exactly one of text and ids.
 *
 * @typedef {object} Candidate
 * @property {number} id
 * @property {string} text
 * @property {number} probability
 * @property {number} logit
 *
 * @typedef {object} QuickPrediction What the engine answers before torch is there.
 * @property {{name: string, backend: string}} model
 * @property {Token[]} tokens
 * @property {number} dropped
 * @property {Candidate[]} candidates
 *
 * @typedef {{id: number, text: string, end: boolean, probability: number}} SampledToken
 *
 * @typedef {object} Walk What was written behind the text, and how much of it is shown.
 * @property {number[]} promptIds The text's own tokens.
 * @property {number[]} generatedIds Tokens behind it, with the changes if there are any.
 * @property {number[] | null} uneditedIds The same without the changes; null where there are none.
 * @property {number} shownCount How many of them are shown: the arrow keys move it.
 *
 * @typedef {object} SecondText
 * @property {string} text
 * @property {Frame | null} frame
 *
 * @typedef {object} State
 * @property {Language} lang
 * @property {string | null} model
 * @property {string} text
 * @property {Walk | null} walk
 * @property {EditSpec[]} edits
 * @property {Sampling} sampling
 * @property {number | null} layer The opened one.
 * @property {number | null} head The chosen one of it.
 * @property {{layer: number, head: number}} turning Whose queries and keys are seen turning.
 * @property {"probability" | "rank" | "kl"} lensMode
 * @property {number | null} hover The token position that is lit everywhere.
 * @property {Frame | null} look
 * @property {Frame | null} plain The same text without the changes; null where there are none.
 * @property {Frame | null} twin The text that was written without the changes, where it went another way.
 * @property {QuickPrediction | null} quick
 * @property {SecondText | null} second
 * @property {boolean} walking Whether tokens are being written.
 * @property {About | null} about
 * @property {Run | null} run The training run that is served.
 * @property {string | null} busy
 * @property {string | null} notice What is worth saying, and no error.
 * @property {string | null} error
 *
 * @typedef {object} About What the server says of a model.
 * @property {string} name
 * @property {string} file
 * @property {string} dtype
 * @property {string} backend
 * @property {string} reason
 * @property {number} parameters
 * @property {number} bytes
 * @property {number} memory
 * @property {{value: number, against: string} | null} reference_error
 * @property {boolean} chat
 *
 * @typedef {object} RunEvent
 * @property {number} step
 * @property {number} [tokens]
 * @property {number} [seconds]
 * @property {number} [loss]
 * @property {number} [validation]
 * @property {string} [sample]
 *
 * @typedef {object} Run
 * @property {string} name
 * @property {string} out
 * @property {boolean} running
 * @property {string | null} model What the run came to, as the server calls it; null while it is not there.
 * @property {number[]} steps Those that were saved.
 * @property {RunEvent[]} events
 *
 * @typedef {object} Source Where numbers come from: a server, or the file that the page is.
 * @property {boolean} live Whether it can compute something new.
 * @property {(input: RequestInput, top: number, signal?: AbortSignal) => Promise<QuickPrediction>} predict
 * @property {(input: RequestInput, edits: EditSpec[], parts: PartSpec[], signal?: AbortSignal) => Promise<Frame>} look
 *   With parts that will be asked for, so that they need no way of their own.
 * @property {(look: Frame, layer: number) => Promise<Frame>} block
 * @property {(look: Frame, layer: number, head: number) => Promise<Frame>} turns
 * @property {(look: Frame, sampling: Sampling) => Promise<SampledToken>} draw
 * @property {(text: string, model: string | null) => Promise<number[]>} tokenize
 * @property {() => Promise<string[]>} models
 * @property {(model: string | null) => Promise<About>} about
 * @property {() => Promise<Run | null>} run
 * @property {(path: string, body: object, onData: (data: any) => void, signal: AbortSignal) => Promise<void>} stream
 *
 * @typedef {object} Context What every station is made from.
 * @property {import("nextword/state.js").Store} store
 * @property {Source} source
 * @property {import("nextword/trace_loader.js").TraceLoader} traceLoader
 * @property {import("nextword/generator.js").Generator} generator
 */

export {};
