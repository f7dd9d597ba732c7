//! A report as aligned tables.

use std::fmt::{self, Display, Write};

use super::figures::Report;

/// A table: words to the left, numbers to the right.
struct Table {
    title: String,
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in a table.
enum Cell {
    Word(String),
    Number(String),
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Cell::Word(text) | Cell::Number(text) => text,
        }
    }
}

fn word(text: impl Display) -> Cell {
    Cell::Word(text.to_string())
}

fn number(number: impl Display) -> Cell {
    Cell::Number(number.to_string())
}

/// Minor units as people write them; of currencies without such units it is off by a point only.
fn money(amount: i64) -> Cell {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    Cell::Number(format!("{sign}{}.{:02}", amount / 100, amount % 100))
}

impl Table {
    fn new(title: impl Into<String>, headings: impl Into<Vec<&'static str>>) -> Table {
        Table {
            title: title.into(),
            headings: headings.into(),
            rows: Vec::new(),
        }
    }

    fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        if self.rows.is_empty() {
            return writeln!(f, "  none");
        }
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let heading = self
                .headings
                .get(column)
                .map_or(0, |text| text.chars().count());
            let widest = cells.map(|cell| cell.text().chars().count()).max();
            widest.unwrap_or_default().max(heading)
        };
        let is_number = |column: usize| {
            let first = self.rows.first().and_then(|row| row.get(column));
            matches!(first, Some(Cell::Number(_)))
        };
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (column, text) in cells.enumerate() {
                let width = width(column);
                // Writing to a string does not fail.
                let _ = if is_number(column) {
                    write!(line, "  {text:>width$}")
                } else {
                    write!(line, "  {text:<width$}")
                };
            }
            line.trim_end().to_owned()
        };
        writeln!(f, "{}", line(&mut self.headings.iter().copied()))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&mut row.iter().map(Cell::text)))?;
        }
        Ok(())
    }
}

impl Report {
    /// The report for people.
    pub(super) fn tables(&self) -> String {
        let tables = [
            self.orders_table(),
            self.revenue_table(),
            self.payments_table(),
            self.shipments_table(),
            self.stock_table(),
            self.notifications_table(),
            self.funnel_table(),
            self.streams_table(),
            self.services_table(),
        ];
        let mut text = format!("{}\n\n", self.source);
        for table in tables {
            let _ = writeln!(text, "{table}");
        }
        let _ = write!(
            text,
            "recovered {} commits in {} ms at the last start",
            self.recovered.commits, self.recovered.ms
        );
        text
    }

    fn orders_table(&self) -> Table {
        let title = if self.orders_cut {
            "orders (the newest; payments, shipments and notifications are theirs)"
        } else {
            "orders"
        };
        let mut table = Table::new(title, ["status", "orders"]);
        for (status, orders) in &self.orders {
            table.row([word(status), number(orders)]);
        }
        table.row([word("all"), number(self.orders.values().sum::<u64>())]);
        table
    }

    fn revenue_table(&self) -> Table {
        let revenue = &self.revenue;
        let title = match revenue.agrees {
            Some(true) => "revenue: analytics and the provider's ledger agree",
            Some(false) => {
                "revenue: analytics and the provider's ledger differ; look again when nothing is under way"
            }
            None => "revenue: there is no ledger to compare it with",
        };
        let title = format!("{title} ({})", revenue.currency);
        let mut table = Table::new(title, ["", "captured", "refunded", "net"]);
        table.row([
            word("analytics"),
            money(revenue.captured),
            money(revenue.refunded),
            money(revenue.net),
        ]);
        if let Some(ledger) = revenue.ledger {
            table.row([
                word("ledger"),
                money(ledger.captured),
                money(ledger.refunded),
                money(ledger.net),
            ]);
        }
        table
    }

    fn payments_table(&self) -> Table {
        let headings = ["status", "payments", "captured", "refunded"];
        let mut table = Table::new("payments", headings);
        for (status, paid) in &self.payments {
            table.row([
                word(status),
                number(paid.payments),
                money(paid.captured),
                money(paid.refunded),
            ]);
        }
        table
    }

    fn shipments_table(&self) -> Table {
        let mut table = Table::new("shipments", ["status", "parcels"]);
        for (status, parcels) in &self.shipments {
            table.row([word(status), number(parcels)]);
        }
        table
    }

    fn stock_table(&self) -> Table {
        let headings = [
            "sku",
            "sent",
            "movements",
            "on hand",
            "reserved",
            "available",
        ];
        let mut table = Table::new("stock (on hand = the sum of all movements)", headings);
        for stock in &self.stock {
            table.row([
                word(&stock.sku),
                number(stock.sent),
                number(stock.moved),
                number(stock.on_hand),
                number(stock.reserved),
                number(stock.available),
            ]);
        }
        table
    }

    fn notifications_table(&self) -> Table {
        let headings = ["template", "status", "notifications"];
        let mut table = Table::new("notifications", headings);
        for (template, by_status) in &self.notifications {
            for (status, count) in by_status {
                table.row([word(template), word(status), number(count)]);
            }
        }
        table
    }

    fn funnel_table(&self) -> Table {
        let headings = ["viewed", "added to cart", "ordered", "purchased"];
        let mut table = Table::new("funnel", headings);
        let funnel = &self.funnel;
        table.row([
            number(funnel.viewed),
            number(funnel.added_to_cart),
            number(funnel.ordered),
            number(funnel.purchased),
        ]);
        table
    }

    fn streams_table(&self) -> Table {
        let headings = [
            "from", "to", "sent", "accepted", "applied", "parked", "dead",
        ];
        let mut table = Table::new("streams", headings);
        for stream in &self.streams {
            table.row([
                word(&stream.from),
                word(&stream.to),
                number(stream.sent),
                number(stream.accepted),
                number(stream.applied),
                number(stream.parked),
                number(stream.dead),
            ]);
        }
        table
    }

    fn services_table(&self) -> Table {
        let mut table = Table::new("services", ["name", "state", "restarts"]);
        for service in &self.services {
            table.row([
                word(&service.name),
                word(&service.state),
                number(service.restarts),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right_under_their_headings() {
        let mut table = Table::new("orders", ["status", "n"]);
        table.row([word("paid"), number(5)]);
        table.row([word("manual_review"), number(12_000)]);
        let shown =
            "orders\n  status             n\n  paid               5\n  manual_review  12000\n";
        assert_eq!(table.to_string(), shown);
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(
            Table::new("orders", ["status"]).to_string(),
            "orders\n  none\n"
        );
    }

    #[test]
    fn money_has_two_places_and_one_sign() {
        let shown = [0, 5, 199, -1_205, 1_000_000].map(|amount| money(amount).text().to_owned());
        assert_eq!(shown, ["0.00", "0.05", "1.99", "-12.05", "10000.00"]);
    }
}
