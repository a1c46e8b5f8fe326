// The dialog that takes a photo with the webcam.

import { byId } from "./dom.js";
import { t } from "./language.js";

/** Takes a photo; resolves to a JPEG file, or to null if the dialog is closed without one. */
export async function takePhoto() {
  const dialog = byId("webcam");
  const video = dialog.querySelector("video");
  const take = byId("webcam-take");
  byId("webcam-problem").textContent = "";
  take.disabled = true;
  dialog.showModal();
  const photo = new Promise((resolve) => {
    take.onclick = async () => {
      resolve(await frame(video));
      dialog.close();
    };
    byId("webcam-close").onclick = () => dialog.close();
    dialog.onclose = () => resolve(null);
  });
  const stream = await open(video);
  take.disabled = !stream;
  if (stream) take.focus();
  const file = await photo;
  for (const track of stream?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  return file;
}

async function open(video) {
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
    video.srcObject = stream;
    await video.play();
    return stream;
  } catch (error) {
    const words = { NotFoundError: "webcamMissing", SecurityError: "webcamInsecure" };
    byId("webcam-problem").textContent = t(words[error.name] ?? "webcamDenied");
    return null;
  }
}

async function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], "webcam.jpg", { type: "image/jpeg" });
}
