// The photo in a file: its pixels, and its format.

// The first bytes of the formats that servers read; null stands for any byte.
const FORMATS = [
  [0xff, 0xd8, 0xff], // JPEG
  [0x89, 0x50, 0x4e, 0x47], // PNG
  [0x52, 0x49, 0x46, 0x46, null, null, null, null, 0x57, 0x45, 0x42, 0x50], // WebP
  [0x42, 0x4d], // BMP
  [null, null, null, null, 0x66, 0x74, 0x79, 0x70], // HEIC and AVIF, for which not every server is set up
];

/** The decoded photo, upright by its EXIF orientation as on the server; null if unreadable. */
export function decoded(file) {
  return createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
}

/** False for a file that the server must refuse, as its format is none of these. */
export async function hasServedFormat(file) {
  const start = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  return FORMATS.some((format) => format.every((byte, at) => byte === null || byte === start[at]));
}
