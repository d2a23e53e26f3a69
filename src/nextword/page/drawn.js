// Whether all that was asked for is on the page: the attribute data-drawn stands on <html> then. Whoever takes a picture
// of the page, or checks it, waits for that.

let unfinished = 0;

/** Something is under way that will change what the page shows. */
export function begun() {
  unfinished += 1;
  document.documentElement.removeAttribute("data-drawn");
}

/** It is done. What it leads to may begin something else, which is seen before the next frame. */
export function ended() {
  unfinished -= 1;
  if (unfinished === 0) {
    requestAnimationFrame(() => document.documentElement.toggleAttribute("data-drawn", unfinished === 0));
  }
}

/**
 * @template T
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
export async function during(work) {
  begun();
  try {
    return await work;
  } finally {
    ended();
  }
}
