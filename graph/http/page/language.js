// The page's language: the browser's, until the user chooses the other.

import { texts } from "./texts.js";

const KEY = "facegraph-language";
let current = stored() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

/** The text of that name in the current language; some texts take `values` as arguments. */
export function t(name, ...values) {
  const text = texts[current][name];
  return typeof text === "function" ? text(...values) : text;
}

/** Writes the text and label of every element below `root`. */
export function applyTexts(root) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = t(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
  }
}

/** Sets up the button that changes the language; it calls `changed` after the fixed texts. */
export function setUpLanguage(button, changed) {
  const apply = () => {
    document.documentElement.lang = current === "zh" ? "zh-Hans" : "en";
    applyTexts(document);
    button.textContent = t("language");
    button.lang = current === "zh" ? "en" : "zh-Hans";
    button.setAttribute("aria-label", t("languageLabel"));
  };
  button.addEventListener("click", () => {
    current = current === "zh" ? "en" : "zh";
    localStorage.setItem(KEY, current);
    apply();
    changed();
  });
  apply();
}

function stored() {
  const language = localStorage.getItem(KEY);
  return language in texts ? language : null;
}
