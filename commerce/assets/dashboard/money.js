// Money: minor units and a currency, as people read them.

const FORMATS = new Map();

/** `{ amount: 1998, currency: "EUR" }` as €19.98. */
export function money({ amount, currency }) {
  if (!FORMATS.has(currency)) {
    FORMATS.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
  }
  const format = FORMATS.get(currency);
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}
