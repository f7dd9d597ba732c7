// Figures and times as people read them.

const NUMBER = new Intl.NumberFormat();
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** A number with its thousands apart; what is none is a dash. */
export function number(value) {
  return Number.isFinite(value) ? NUMBER.format(value) : "–";
}

/** A number of bytes. */
export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  let unit = 0;
  for (; value >= 1024 && unit < BYTES.length - 1; unit += 1) value /= 1024;
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${BYTES[unit]}`;
}

/** The time of day, where the reader is. */
export function time(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "–" : TIME.format(date);
}
