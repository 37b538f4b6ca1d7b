// Tables: real ones for screen readers, sorted by their heads, stacked into cards where the screen is narrow.

import { type ReactNode, useEffect, useRef, useState } from "react";
import { ITEMS_MAX } from "../api";
import { number } from "../format";

export interface Column<T> {
  head: string;
  cell: (row: T) => ReactNode;
  // What the column sorts by; without it, it does not sort.
  by?: (row: T) => string | number;
  isNumber?: boolean;
  // Shown as a card's heading where the screen is narrow.
  isName?: boolean;
  // Where the screen is narrow: `mark` stands beside the name, `wordy` takes a line, `aside` is left out, on laptops too.
  className?: string;
}

interface TableProps<T> {
  label: string;
  rows: T[];
  columns: Column<T>[];
  keyOf: (row: T) => string | number;
  empty?: ReactNode;
  sort?: string;
  onSort?: (sort: string) => void;
}

// So many rows are drawn at once; the rest follows when people come near the end.
const STEP = 60;

export function Table<T>({ label, rows, columns, keyOf, empty, sort: given, onSort }: TableProps<T>) {
  const [own, setOwn] = useState("");
  const sort = given ?? own;
  const setSort = onSort ?? setOwn;
  const [limit, setLimit] = useState(STEP);
  const end = useRef<HTMLDivElement>(null);
  const isMore = rows.length > limit;
  useEffect(() => {
    if (!isMore || !end.current) return;
    const watch = new IntersectionObserver(
      (seen) => seen.some((entry) => entry.isIntersecting) && setLimit((n) => n + STEP),
      { rootMargin: "800px" },
    );
    watch.observe(end.current);
    return () => watch.disconnect();
  }, [isMore, limit]);
  if (rows.length === 0 && empty) return <>{empty}</>;

  const isDown = sort.startsWith("-");
  const sorted = columns.find((column) => column.by && column.head === sort.replace(/^-/, ""));
  const shown = sorted?.by ? [...rows].sort(comparing(sorted.by, isDown)) : rows;
  return (
    <div className="table-box" role="region" aria-label={label} tabIndex={0}>
      <table role="table" aria-label={label} aria-rowcount={rows.length + 1}>
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1}>
            {columns.map((column) => (
              <th
                key={column.head}
                role="columnheader"
                scope="col"
                className={`${column.isNumber ? "number" : ""} ${column.className ?? ""}`}
                aria-sort={sorted === column ? (isDown ? "descending" : "ascending") : undefined}
              >
                {column.by ? (
                  <button
                    type="button"
                    onClick={() => setSort(sorted === column && !isDown ? `-${column.head}` : column.head)}
                  >
                    {column.head}
                    <span aria-hidden="true" className="arrow">
                      {sorted === column ? (isDown ? "↓" : "↑") : ""}
                    </span>
                  </button>
                ) : (
                  column.head
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {shown.slice(0, limit).map((row, i) => (
            <tr key={keyOf(row)} role="row" aria-rowindex={i + 2}>
              {columns.map((column) => (
                <td
                  key={column.head}
                  role="cell"
                  data-head={column.head}
                  className={`${column.isNumber ? "number" : ""} ${column.isName ? "name" : ""} ${column.className ?? ""}`}
                >
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {isMore && <div ref={end} className="more-rows" />}
      {!isMore && rows.length >= ITEMS_MAX && (
        <p className="muted cut">These are the newest {number(rows.length)}. Narrow what is shown to see others.</p>
      )}
    </div>
  );
}

function comparing<T>(by: (row: T) => string | number, isDown: boolean) {
  return (a: T, b: T) => {
    const [x, y] = [by(a), by(b)];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return isDown ? -order : order;
  };
}
