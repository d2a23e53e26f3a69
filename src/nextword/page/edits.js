/**
 * The list of changes: what is off, and lists with one change more or less. A list is never changed itself.
 *
 * @typedef {import("nextword/types.js").EditSpec} EditSpec
 */

/**
 * Whether two changes are about the same thing, so that one takes the other's place.
 *
 * @param {EditSpec} one
 * @param {EditSpec} other
 * @returns {boolean}
 */
function sameTarget(one, other) {
  if (one.kind === "head" && other.kind === "head") {
    return one.layer === other.layer && one.head === other.head;
  }
  if (one.kind === "mlp" && other.kind === "mlp") {
    return one.layer === other.layer;
  }
  if (one.kind === "layer" && other.kind === "layer") {
    return one.layer === other.layer;
  }
  if (one.kind === "patch" && other.kind === "patch") {
    return one.row === other.row && one.position === other.position;
  }
  return one.kind === "token" && other.kind === "token" && one.position === other.position;
}

/**
 * @param {EditSpec[]} edits
 * @param {EditSpec} edit
 * @returns {EditSpec[]}
 */
export function withEdit(edits, edit) {
  return [...withoutEdit(edits, edit), edit];
}

/**
 * @param {EditSpec[]} edits
 * @param {EditSpec} edit
 * @returns {EditSpec[]}
 */
export function withoutEdit(edits, edit) {
  return edits.filter((other) => !sameTarget(other, edit));
}

/**
 * @param {EditSpec[]} edits
 * @param {EditSpec} edit
 * @returns {EditSpec[]} Without the change if it was there, with it otherwise.
 */
export function toggleEdit(edits, edit) {
  return edits.some((other) => sameTarget(other, edit)) ? withoutEdit(edits, edit) : withEdit(edits, edit);
}

/**
 * What a head counts: 1 as the model has it, 0 for a head that is off.
 *
 * @param {EditSpec[]} edits
 * @param {number} layer
 * @param {number} head
 * @returns {number}
 */
export function headFactor(edits, layer, head) {
  for (const edit of edits) {
    if (edit.kind === "head" && edit.layer === layer && edit.head === head) {
      return edit.factor;
    }
  }
  return 1;
}

/**
 * @param {EditSpec[]} edits
 * @param {number} layer
 * @param {number} head
 * @param {number} factor
 * @returns {EditSpec[]}
 */
export function withHeadFactor(edits, layer, head, factor) {
  /** @type {EditSpec} */
  const edit = {kind: "head", layer, head, factor};
  return factor === 1 ? withoutEdit(edits, edit) : withEdit(edits, edit);
}

/**
 * @param {EditSpec[]} edits
 * @param {"mlp" | "layer"} kind
 * @param {number} layer
 * @returns {boolean}
 */
export function isAblated(edits, kind, layer) {
  return edits.some((edit) => edit.kind === kind && edit.layer === layer);
}

/**
 * Whether a patch is at a cell of the lens, or can reach it: the rows above it at its position and behind.
 *
 * @param {EditSpec[]} edits
 * @param {number} row
 * @param {number} position
 * @returns {"at" | "reached" | null}
 */
export function patchReach(edits, row, position) {
  const patches = edits.filter((edit) => edit.kind === "patch");
  if (patches.some((patch) => patch.row === row && patch.position === position)) {
    return "at";
  }
  return patches.some((patch) => row > patch.row && position >= patch.position) ? "reached" : null;
}
