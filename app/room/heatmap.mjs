// A heatmap as it was sent becomes a canvas of colours, each as opaque as it is strong, and the outline of its regions.

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The pixel of each strength, of 256 colours R, G, B, R, …: as opaque as it is strong, in the order that a canvas keeps.
export function inks(colours) {
  const found = new Uint32Array(256);
  for (let strength = 0; strength < 256; strength += 1) {
    const [red, green, blue] = colours.slice(3 * strength, 3 * strength + 3);
    found[strength] = ((strength << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return found;
}

async function drawn(map, ink) {
  if (!map) return null;
  if (!map.rows) return { ...map, canvas: null, outline: null };
  const { rows, columns } = map;
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const strengths = await inflated(map.cells);
  for (let place = 0; place < pixels.length; place += 1) pixels[place] = ink[strengths[place]];
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return { ...map, cells: "", canvas, outline: outlined(map.lines) };
}

// Where regions end, in parts of the picture.
function outlined(lines) {
  const path = new Path2D();
  for (const line of lines) {
    path.moveTo(line[0], line[1]);
    for (let place = 2; place < line.length; place += 2) path.lineTo(line[place], line[place + 1]);
    path.closePath();
  }
  return path;
}

// Of {label: {mean, spread}} as it was sent, the same with what can be drawn.
export async function prepared(maps, colours) {
  const ink = inks(colours);
  const each = Object.entries(maps).map(async ([label, { mean, spread }]) => (
    [label, { mean: await drawn(mean, ink), spread: await drawn(spread, ink) }]
  ));
  return Object.fromEntries(await Promise.all(each));
}
