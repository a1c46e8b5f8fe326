// The notice above the result: an error of the API in words, or a hint.

import { ApiError } from "./api.js";
import { byId } from "./dom.js";
import { t } from "./language.js";

let shown = null;

/** Shows an error of an API call; `field` names the photo of the call, if it had only one. */
export function showProblem(error, field = null) {
  if (!(error instanceof ApiError)) throw error;
  shown = { error, field };
  applyProblem();
}

export function clearProblem() {
  shown = null;
  byId("problem").hidden = true;
}

/** Writes the notice again, in the page's current language. */
export function applyProblem() {
  byId("problem").hidden = !shown;
  if (!shown) return;
  const { code, status, requestId, message, details } = shown.error;
  const problems = t("problems");
  const words = problems[code] ?? problems.other;
  const field = t("fields")[shown.field ?? details?.field] ?? details?.field;
  byId("problem-words").textContent =
    typeof words === "function" ? sentence(words(field ?? t("fields").image)) : words;
  byId("problem-details").textContent = `${message} · ${t("problemDetails", code, status, requestId)}`;
}

export function showNotice(words) {
  clearProblem();
  byId("problem").hidden = false;
  byId("problem-words").textContent = words;
  byId("problem-details").textContent = "";
}

function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
