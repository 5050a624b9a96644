// What Streamlit gives the viewer becomes words and a heatmap; everything else is in room/.

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function unpacked(message) {
  const length = new DataView(message.buffer, message.byteOffset, 4).getUint32(0, true);
  return { words: JSON.parse(new TextDecoder().decode(message.subarray(4, 4 + length))), cells: message.subarray(4 + length) };
}

// The heatmap's colours, each as opaque as it is strong; null where there is none to show.
async function coloured({ words, cells }) {
  if (!words.heatmap) return null;
  const strengths = new Uint8Array(await inflated(cells));
  const { rows, columns } = words.heatmap;
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const image = new ImageData(columns, rows);
  strengths.forEach((strength, place) => {
    image.data.set(words.colours.slice(3 * strength, 3 * strength + 3), 4 * place);
    image.data[4 * place + 3] = strength;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Where regions end, in parts of the picture.
function outlines({ contour }) {
  const path = new Path2D();
  for (const line of contour?.lines ?? []) {
    path.moveTo(line[0], line[1]);
    for (let place = 2; place < line.length; place += 2) path.lineTo(line[place], line[place + 1]);
    path.closePath();
  }
  return path;
}

const viewers = new WeakMap();

async function shown(section, data, parentElement) {
  const { Viewer } = await import(new URL("room/viewer.mjs", document.baseURI));
  if (viewers.get(parentElement)?.section !== section) {
    viewers.get(parentElement)?.close();
    viewers.set(parentElement, new Viewer(parentElement));
  }
  const message = unpacked(data);
  await viewers.get(parentElement).show(message.words, await coloured(message), outlines(message.words));
}

export default function ({ data, parentElement }) {
  const section = parentElement.querySelector(".viewer");
  shown(section, data, parentElement).catch((error) => {
    section.dataset.failed = "yes";
    section.querySelector(".message").textContent = "This browser cannot show the image. Please use a current one.";
    console.error(error);
  });
  return () => {
    viewers.get(parentElement)?.close();
    viewers.delete(parentElement);
  };
}
