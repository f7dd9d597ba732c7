// The shop: orders, money, what sells and what runs low.

import { number } from "./format.js";
import { money } from "./money.js";
import { Panel } from "./panel.js";
import { Source } from "./source.js";
import { Figures, Funnel, Table } from "./views.js";

/** Statuses of an order: first those of its good life, then the others. */
const STATUSES = [
  ...["pending", "reserved", "paid", "confirmed", "shipped", "delivered"],
  ...["payment_failed", "cancelling", "cancelled", "returned", "manual_review"],
];
/** Orders of a status that are counted; of more it is said that there are more. */
const COUNTED_MAX = 100;

/** The panels of the shop. */
export function shop() {
  const figures = new Source((ask) => ask("/api/v1/analytics/dashboard"), { everyMs: 3_000 });
  const orders = new Source((ask) => ordersByStatus(ask), { everyMs: 10_000 });
  const low = new Source((ask) => ask("/api/v1/inventory/products/low-stock"), { everyMs: 5_000 });
  const sales = new Table(
    "Best-selling",
    [
      { title: "product", cell: ({ name }) => name },
      { title: "units", number: true, cell: ({ units }) => number(units) },
      { title: "revenue", number: true, cell: ({ revenue }) => money(revenue) },
    ],
    "nothing was sold yet",
  );
  const statuses = new Table("Orders by status", [
    { title: "status", cell: ({ status }) => status.replaceAll("_", " ") },
    { title: "orders", number: true, cell: ({ counted, more }) => number(counted) + (more ? "+" : "") },
  ]);
  const stock = new Table(
    "Low stock",
    [
      { title: "product", cell: ({ name, sku }) => `${name} (${sku})` },
      { title: "available", number: true, cell: ({ available }) => number(available) },
      { title: "reserved", number: true, cell: ({ reserved }) => number(reserved) },
      { title: "reorder at", number: true, cell: ({ reorder_level }) => number(reorder_level) },
    ],
    "nothing runs low",
  );
  return [
    new Panel("Today", figures, [[new Figures(), ({ today }) => summary(today)]]),
    new Panel("All days", figures, [[new Figures(), ({ totals }) => summary(totals)]]),
    new Panel("Best-selling", figures, [[sales, ({ top_products }) => top_products]]),
    new Panel("From view to purchase, today", figures, [[new Funnel(), steps]]),
    new Panel("Orders by status, as far as you may see them", orders, [[statuses, (counts) => counts]]),
    new Panel("Low stock", low, [[stock, ({ items }) => items]]),
  ];
}

function summary({ revenue, refunded, average_order_value, created, confirmed, cancelled, delivered }) {
  return [
    ["revenue", money(revenue)],
    ["refunded", money(refunded)],
    ["average order", money(average_order_value)],
    ["orders created", number(created)],
    ["confirmed", number(confirmed)],
    ["cancelled", number(cancelled)],
    ["delivered", number(delivered)],
  ];
}

function steps({ funnel_today: { viewed, added_to_cart, ordered, purchased } }) {
  return [
    ["viewed", viewed],
    ["put into a cart", added_to_cart],
    ["ordered", ordered],
    ["paid for", purchased],
  ];
}

/** One status after the other: nobody waits for this, and others want to be served. */
async function ordersByStatus(ask) {
  const counts = [];
  for (const status of STATUSES) {
    const { items, next_cursor } = await ask(`/api/v1/orders?status=${status}&limit=${COUNTED_MAX}`);
    counts.push({ status, counted: items.length, more: next_cursor !== null });
  }
  return counts;
}
