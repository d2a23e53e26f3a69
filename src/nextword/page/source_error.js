// What a source of numbers could not do, and how the reader is told.

import {t} from "nextword/i18n.js";

/** What did not work, in words for the reader. */
export class SourceError extends Error {
  /**
   * @param {string} message
   * @param {number} status HTTP's; 0 where nobody answered.
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function errorMessage(error) {
  if (error instanceof SourceError && error.status === 0) {
    return t("error.unreachable");
  }
  return error instanceof Error ? error.message : String(error);
}
