// One face compared with many, in the form of a /v1/compare answer, from the server's embeddings.

/**
 * source, targets: faces as /v1/embed answers them; pools: the entries of /v1/models by pool name;
 * fusion: of /v1/models; threshold: the chosen one, or null for each recognizer's own.
 */
export function compareFaces(source, targets, { pools, fusion, threshold }) {
  const matches = targets.map((face) => {
    const scores = Object.fromEntries(
      Object.keys(source.embeddings).map((name) => [
        name,
        score(source.embeddings[name], face.embeddings[name], pools[name], threshold),
      ]),
    );
    const [similarity, limit] = fuse(scores, pools, fusion);
    const uncertain = Object.values(scores).some((part) => part.decision === "uncertain");
    return { face, scores, ...decide(similarity, limit, uncertain) };
  });
  matches.sort((one, other) => margin(other) - margin(one));
  const { face, ...best } = matches[0];
  return { ...best, source, target: face, matches };
}

/** The cosine similarity of two embeddings of length 1: their dot product. */
export function cosine(one, other) {
  const sum = one.reduce((total, value, index) => total + value * other[index], 0);
  return Math.max(-1, Math.min(1, sum));
}

function score(source, target, pool, chosen) {
  const uncertainties = [source.uncertainty, target.uncertainty];
  const known = pool.max_uncertainty !== null && !uncertainties.includes(null);
  const uncertain = known && Math.max(...uncertainties) > pool.max_uncertainty;
  return {
    ...decide(cosine(source.embedding, target.embedding), chosen ?? pool.threshold, uncertain),
    source_uncertainty: source.uncertainty,
    target_uncertainty: target.uncertainty,
  };
}

/** The fused similarity and threshold of several recognizers, as the graph's aggregator has them. */
function fuse(scores, pools, fusion) {
  const parts = Object.entries(scores);
  if (fusion === "max") {
    const [best] = Object.values(scores).sort((one, other) => margin(other) - margin(one));
    return [best.similarity, best.threshold];
  }
  const weights = parts.map(([name]) => pools[name].weight ?? 1);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const mean = (field) =>
    parts.reduce((total, [, part], at) => total + (weights[at] / sum) * part[field], 0);
  return [mean("similarity"), mean("threshold")];
}

function decide(similarity, threshold, uncertain) {
  const matched = similarity >= threshold && !uncertain;
  const decision = uncertain ? "uncertain" : matched ? "match" : "mismatch";
  return { similarity, threshold, matched, decision };
}

function margin(part) {
  return part.similarity - part.threshold;
}
