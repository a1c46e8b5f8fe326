// The causes of an uncertain decision: measures of the compared faces beyond a recognizer's limits.

import { number } from "./dom.js";
import { t } from "./language.js";

/**
 * The causes in the faces of a match, in words: { source, target }, each a list.
 *
 * models: of /v1/models, whose limits the server decides by.
 */
export function doubts({ decision, scores }, models) {
  const found = { source: [], target: [] };
  if (decision !== "uncertain") return found;
  for (const { pool, min_quality: least, max_uncertainty: most } of models) {
    const score = scores[pool];
    if (!score) continue;
    for (const side of ["source", "target"]) {
      const quality = score[`${side}_quality`] ?? Infinity;
      const uncertainty = score[`${side}_uncertainty`] ?? -Infinity;
      if (quality < (least ?? -Infinity)) {
        found[side].push(t("tooPoor", number(quality, 2), pool, number(least, 2)));
      }
      if (uncertainty > (most ?? Infinity)) {
        found[side].push(t("tooUncertain", number(uncertainty), pool, number(most)));
      }
    }
  }
  return found;
}

/** A face's faults in words; empty for a good face. */
export function faults({ reasons }) {
  return reasons.map((reason) => t("reasons")[reason] ?? reason);
}
