// The page's theme, light or dark: the system's, until the user chooses.

import { t } from "./language.js";

const KEY = "facegraph-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export function setUpTheme(button) {
  const isDark = () => (localStorage.getItem(KEY) ?? (system.matches ? "dark" : "light")) === "dark";
  const apply = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    button.textContent = t(isDark() ? "themeLight" : "themeDark");
  };
  button.addEventListener("click", () => {
    localStorage.setItem(KEY, isDark() ? "light" : "dark");
    apply();
  });
  system.addEventListener("change", apply);
  apply();
  return apply;
}
