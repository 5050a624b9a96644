// Which heatmap of a case is shown, and what is said where there is none. Pure; a map is as heatmap.mjs prepared it.

const EMPTY = { state: "", licence: "", full: "", strength: "", contoured: "", canvas: null, outline: null, drawn: true };

// A label's own maps, {mean, spread}: as computed again where they were, else as they were stored.
export function ownMaps({ picture, check }, label) {
  return check.maps[label] ?? picture.maps[label];
}

// The maps of a label by a method ("": the model's own); null where they are not there yet.
function mapsOf(at, label, method) {
  return method ? at.others.get(`${method} ${label}`) ?? null : ownMaps(at, label);
}

export function hasSpread(at, label, method) {
  return at.check.state !== "refused" && Boolean(mapsOf(at, label, method)?.spread);
}

// The map to show; `part` is "mean" or "spread".
export function shownMap(at, label, method, part) {
  const empty = { ...EMPTY, title: `Where the score of “${label}” comes from` };
  if (at.check.state === "refused") return { ...empty, note: "No heatmap is shown of a score that is not shown." };
  const own = ownMaps(at, label).mean;
  if (own.state === "heatmap failed") return own;
  const found = mapsOf(at, label, method);
  if (!found) return { ...empty, note: "Computing the heatmap …" };
  if (found.failed) return { ...empty, note: found.failed };
  if (!found.mean.canvas && at.check.state === "unchecked") {
    return { ...found.mean, note: `The folder of scores keeps no heatmap of “${label}”, and it could not be computed.` };
  }
  return part === "spread" && found.spread ? found.spread : found.mean;
}
