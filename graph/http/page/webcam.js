// The webcam: offered where there is one, and the dialog that takes a photo with it.

import { byId } from "./dom.js";

/** Shows the buttons while there is a webcam that this page may ask for. */
export async function offerWebcam(buttons) {
  const devices = navigator.mediaDevices; // undefined on a page that is neither https nor local
  const look = async () => {
    const found = (await devices?.enumerateDevices()) ?? [];
    for (const button of buttons) button.hidden = !found.some(({ kind }) => kind === "videoinput");
  };
  devices?.addEventListener("devicechange", look);
  await look();
}

/**
 * Takes a photo; resolves to a JPEG file, or to null if the dialog is closed without one.
 *
 * Throws a DOMException if the webcam cannot be used.
 */
export async function takePhoto() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  const dialog = byId("webcam");
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  dialog.showModal();
  byId("webcam-take").focus();
  const file = await new Promise((resolve) => {
    byId("webcam-take").onclick = async () => {
      resolve(await frame(video));
      dialog.close();
    };
    byId("webcam-close").onclick = () => dialog.close();
    dialog.onclose = () => resolve(null);
  });
  for (const track of stream.getTracks()) track.stop();
  video.srcObject = null;
  return file;
}

async function frame(video) {
  await video.play(); // resolves with the first frame
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], "webcam.jpg", { type: "image/jpeg" });
}
