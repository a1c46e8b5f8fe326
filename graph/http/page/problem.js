// An error in words, where it belongs: in a photo's slot, or in place of the verdict.

import { ApiError } from "./api.js";
import { byId } from "./dom.js";
import { applyTexts, t } from "./language.js";

// Errors that another attempt with the same photos cannot mend.
const LASTING = [
  "face_not_found",
  "forbidden",
  "galleries_disabled",
  "gallery_conflict",
  "gallery_full",
  "image_too_large",
  "invalid_image",
  "liveness_disabled",
  "no_example",
  "no_webcam",
  "request_too_large",
  "unauthorized",
  "unsupported_media_type",
];

export class Problem {
  #root;
  #error = null;
  #retry = null;

  constructor(root) {
    this.#root = root;
    root.append(byId("problem-parts").content.cloneNode(true));
    root.querySelector("button").addEventListener("click", () => this.#retry());
  }

  /** Shows an error of the API or of this page; its button repeats the call. */
  show(error, retry) {
    if (!(error instanceof ApiError)) throw error;
    this.#error = error;
    this.#retry = retry;
    this.apply();
  }

  clear() {
    this.#error = null;
    this.apply();
  }

  /** The shown error's code; null if none is shown. */
  get code() {
    return this.#error?.code ?? null;
  }

  /** Writes the error in the page's current language. */
  apply() {
    this.#root.hidden = !this.#error;
    if (!this.#error) return;
    applyTexts(this.#root);
    const { code, status, requestId, message } = this.#error;
    const details = [message, requestId && t("problemDetails", code, status, requestId)];
    const [words, hint] = this.#root.querySelectorAll("p");
    words.textContent = t("problems")[code] ?? t("problems").other;
    hint.textContent = details.filter(Boolean).join(" · ");
    this.#root.querySelector("button").hidden = LASTING.includes(code);
  }
}
