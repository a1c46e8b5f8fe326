// The result of a comparison: the best or the chosen match, all matches, scores, timings, the call.

import { hasKey } from "./api.js";
import { drawChip } from "./chips.js";
import { byId, element, number, row, rove } from "./dom.js";
import { doubts, faults } from "./doubts.js";
import { indexOfBox } from "./faces.js";
import { t } from "./language.js";
import { curl, python } from "./snippets.js";
import { showTimings } from "./timings.js";
import { explain, showChip, showVerdict } from "./verdict.js";

const DECISIONS = {
  match: "decisionMatch",
  mismatch: "decisionMismatch",
  uncertain: "decisionUncertain",
};

export class Result {
  #shown = null; // { answer, source, target, call }; source and target are slots
  #chosen = 0; // index in the matches
  #language = "curl";
  #options;

  /** options: show the threshold of each match that is shown, and know the served models. */
  constructor(options) {
    this.#options = options;
    rove(byId("matches"));
    rove(byId("tab-curl").parentElement);
    for (const language of ["curl", "python"]) {
      byId(`tab-${language}`).addEventListener("focus", () => this.#showSnippet(language));
      byId(`tab-${language}`).addEventListener("click", () => this.#showSnippet(language));
    }
    byId("copy").addEventListener("click", copySnippet);
  }

  get isShown() {
    return this.#shown !== null;
  }

  show(shown) {
    this.#shown = shown;
    this.#chosen = 0;
    this.apply();
  }

  clear() {
    if (this.#shown) for (const slot of [this.#shown.source, this.#shown.target]) slot.mark({});
    this.#shown = null;
    this.apply();
  }

  /** The result as a sentence for screen readers. */
  get announcement() {
    const { similarity, threshold } = this.#shown.answer;
    const words = `${this.#verdict(0)}. ${this.#explanation(0)}`;
    return t("announcement", words.trim(), number(similarity), number(threshold, 2));
  }

  /** Writes everything in the page's current language. */
  apply() {
    byId("details").hidden = !this.#shown;
    byId("matches-part").hidden = !(this.#shown?.answer.matches.length > 1);
    if (!this.#shown) return;
    const { answer, target } = this.#shown;
    byId("matches-title").textContent = t("matches", answer.matches.length, t(target.title));
    byId("matches").replaceChildren(...answer.matches.map((match, at) => this.#match(match, at)));
    showTimings(answer.timings);
    this.#showSnippet(this.#language);
    this.#choose(this.#chosen);
  }

  #choose(at) {
    this.#chosen = at;
    const { answer, source, target } = this.#shown;
    const match = answer.matches[at];
    byId("matches").querySelectorAll("button").forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === at));
      button.tabIndex = index === at ? 0 : -1;
    });
    const compared = indexOfBox(source.found.faces, answer.source.box);
    const other = indexOfBox(target.found.faces, match.face.box);
    const isAmbiguous = Object.keys(answer.ambiguous).length > 0;
    const doubted = this.#doubts(match);
    showVerdict(match, this.#verdict(at));
    explain(
      [this.#explanation(at), this.#isGroup && t("chooseFace")].filter(Boolean).join(" "),
      isAmbiguous || match.decision === "uncertain",
    );
    showChip(source, answer.source, compared, doubted.source.length > 0);
    showChip(target, match.face, other, doubted.target.length > 0);
    showScores(match.scores);
    this.#options.showThreshold(match.threshold);
    const indexes = answer.matches
      .filter(({ matched }) => matched)
      .map(({ face }) => indexOfBox(target.found.faces, face.box));
    source.mark({ pressed: compared });
    target.mark({ pressed: other, matched: indexes });
  }

  /** The verdict on a match. Of groups, the best match decides on the compared face alone. */
  #verdict(at) {
    const { decision } = this.#shown.answer.matches[at];
    return t(at === 0 && this.#isGroup && decision === "mismatch" ? "noMatch" : decision);
  }

  /** True if a photo shows several faces. */
  get #isGroup() {
    const { source, target } = this.#shown;
    return source.found.faces.length > 1 || target.found.faces.length > 1;
  }

  #doubts(match) {
    return doubts(match, this.#options.models);
  }

  /** The causes of an uncertain decision, and the compared faces if a photo shows several. */
  #explanation(at) {
    const { answer, source, target } = this.#shown;
    const match = answer.matches[at];
    const doubted = this.#doubts(match);
    const causes = [
      [source, answer.source, doubted.source],
      [target, match.face, doubted.target],
    ]
      .filter(([, , own]) => own.length)
      .map(([slot, face, own]) => t("causes", t(slot.title), [...faults(face), ...own]));
    // The page's limits are not the server's if that was reconfigured meanwhile.
    const words = causes.length ? causes : match.uncertain_because;
    return [...words, this.#isGroup && this.#comparedFaces()].filter(Boolean).join(" ");
  }

  #comparedFaces() {
    const { answer, source, target, call } = this.#shown;
    const [own, others] = [source.found.faces.length, target.found.faces.length];
    const { source: alike, target: othersAlike } = answer.ambiguous;
    const at = indexOfBox(source.found.faces, answer.source.box) + 1;
    const isLargest = call.fields.source_face === undefined;
    const subject = t("comparedFace", t(source.title), at, own, isLargest, alike);
    const compared = answer.matches.length;
    return t("compared", subject, t("comparedWith", t(target.title), compared, others, othersAlike));
  }

  #match(match, at) {
    const { target } = this.#shown;
    const index = indexOfBox(target.found.faces, match.face.box) + 1;
    const chip = element("canvas", { width: 112, height: 112, "aria-hidden": "true" });
    drawChip(chip, target.picture, match.face.landmarks);
    const similarity = number(match.similarity);
    const button = element(
      "button",
      { type: "button", className: match.decision },
      chip,
      element("span", {}, similarity),
    );
    const words = t("matchLabel", index, similarity, t(DECISIONS[match.decision]));
    button.setAttribute("aria-label", words);
    button.addEventListener("click", () => this.#choose(at));
    return button;
  }

  #showSnippet(language) {
    this.#language = language;
    for (const name of ["curl", "python"]) {
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === language));
    }
    byId("snippet").setAttribute("aria-labelledby", `tab-${language}`);
    byId("copy").textContent = t("copy");
    const write = { curl, python }[language];
    byId("snippet").firstElementChild.textContent = this.#shown ? write(this.#shown.call, hasKey()) : "";
  }
}

function showScores(scores) {
  const head = ["recognizer", "similarity", "threshold", "decision", "quality", "uncertainty"];
  const rows = Object.entries(scores).map(([name, score]) =>
    row([
      name,
      number(score.similarity),
      number(score.threshold, 2),
      element("span", { className: score.decision }, t(DECISIONS[score.decision])),
      pair(score.source_quality, score.target_quality, 2),
      pair(score.source_uncertainty, score.target_uncertainty),
    ]),
  );
  byId("scores").replaceChildren(
    element("thead", {}, row(head.map((name) => t(name)), "th")),
    element("tbody", {}, ...rows),
  );
}

/** A measure of the source's and of the target's face. */
function pair(source, target, digits = 3) {
  const known = (value) => (value === null ? t("none") : number(value, digits));
  if (source === null && target === null) return t("none");
  return t("pair", known(source), known(target));
}

async function copySnippet() {
  try {
    await navigator.clipboard.writeText(byId("snippet").textContent);
    byId("copy").textContent = t("copied");
  } catch {
    byId("copy").textContent = t("copyFailed");
    getSelection().selectAllChildren(byId("snippet"));
  }
}
