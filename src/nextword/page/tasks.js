// The tasks that will change what the page shows. Where none is pending, all that was asked for is on the page: the
// attribute data-drawn stands on <html>, which whoever takes a picture of the page, or checks it, waits for. A moment
// later what is out of sight is laid out too: data-whole stands there.

const IDLE_MS = 300;
let pendingTasks = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** Something is under way that will change what the page shows. */
export function beginTask() {
  pendingTasks += 1;
  document.documentElement.removeAttribute("data-drawn");
}

/** It is done. What it leads to may begin something else, which is seen before the next frame. */
export function endTask() {
  pendingTasks -= 1;
  if (pendingTasks === 0) {
    requestAnimationFrame(() => document.documentElement.toggleAttribute("data-drawn", pendingTasks === 0));
    clearTimeout(timer);
    timer = setTimeout(() => document.documentElement.setAttribute("data-whole", ""), IDLE_MS);
  }
}

/** All of the page will change: first what is in sight. */
export function resetIdle() {
  clearTimeout(timer);
  document.documentElement.removeAttribute("data-whole");
}

/**
 * @template T
 * @param {Promise<T>} task
 * @returns {Promise<T>}
 */
export async function trackTask(task) {
  beginTask();
  try {
    return await task;
  } finally {
    endTask();
  }
}
