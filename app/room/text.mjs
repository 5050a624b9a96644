// Texts that come from data, before they are shown: as app/markup.py has them, without what is not seen. Pure.

// Control characters except tab and line feed, and what turns the direction of writing around.
const UNSHOWN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]/g;

export const readable = (text) => text.replace(UNSHOWN, "\ufffd");

// Every text in what was sent; keys stay, because they name something.
export function readableAll(value) {
  if (typeof value === "string") return readable(value);
  if (Array.isArray(value)) return value.map(readableAll);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, readableAll(part)]));
  return value;
}

export function sentence(text) {
  const whole = text.trim();
  return whole ? `${whole[0].toUpperCase()}${whole.slice(1)}${/[.!?]$/.test(whole) ? "" : "."}` : "";
}
