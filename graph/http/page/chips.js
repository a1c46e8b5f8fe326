// Face chips (aligned crops), drawn in the browser as the graph's aligner makes them.

const SIZE = 112;
// Left eye, right eye, nose, left and right mouth corner on a 112x112 chip (ArcFace).
const TEMPLATE = [
  [38.2946, 51.6963],
  [73.5318, 51.5014],
  [56.0252, 71.7366],
  [41.5493, 92.3655],
  [70.7299, 92.2041],
];

/**
 * The similarity transform (rotation, scale, translation) from the points to the template, by least
 * squares (Umeyama 1991; in the plane, the quotient of two complex numbers).
 *
 * Returns [a, b, e, f] for x' = a x - b y + e, y' = b x + a y + f.
 */
export function similarityTransform(points, template = TEMPLATE) {
  const [from, to] = [centre(points), centre(template)];
  let [spread, along, across] = [0, 0, 0];
  points.forEach(([x, y], index) => {
    const [dx, dy] = [x - from[0], y - from[1]];
    const [tx, ty] = [template[index][0] - to[0], template[index][1] - to[1]];
    spread += dx * dx + dy * dy;
    along += dx * tx + dy * ty;
    across += dx * ty - dy * tx;
  });
  const [a, b] = spread > 0 ? [along / spread, across / spread] : [0, 0];
  return [a, b, to[0] - a * from[0] + b * from[1], to[1] - b * from[0] - a * from[1]];
}

/** Draws a photo's face with these landmarks (in the photo's pixels) on a 112x112 canvas. */
export function drawChip(canvas, photo, landmarks) {
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, SIZE, SIZE);
  if (!photo) return;
  const [a, b, e, f] = similarityTransform(landmarks);
  context.imageSmoothingQuality = "high";
  context.setTransform(a, b, -b, a, e, f);
  context.drawImage(photo, 0, 0);
}

function centre(points) {
  const sum = points.reduce(([x, y], point) => [x + point[0], y + point[1]], [0, 0]);
  return sum.map((value) => value / points.length);
}
