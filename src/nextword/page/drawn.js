// Whether all that was asked for is on the page: the attribute data-drawn stands on <html> then. Whoever takes a picture
// of the page, or checks it, waits for that. A moment later what is out of sight is laid out too: data-whole stands there.

const WHOLE_MS = 300;
let unfinished = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

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
    clearTimeout(timer);
    timer = setTimeout(() => document.documentElement.setAttribute("data-whole", ""), WHOLE_MS);
  }
}

/** All of the page will change: first what is in sight. */
export function hasten() {
  clearTimeout(timer);
  document.documentElement.removeAttribute("data-whole");
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
