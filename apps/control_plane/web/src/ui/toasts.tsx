// Short notes at the edge of the screen, read out by screen readers.

import { useSyncExternalStore } from "react";
import { Icon } from "./status";

interface Note {
  id: number;
  tone: "good" | "bad";
  text: string;
}

let notes: Note[] = [];
let last = 0;
const watchers = new Set<() => void>();

function set(next: Note[]) {
  notes = next;
  watchers.forEach((tell) => tell());
}

const drop = (id: number) => set(notes.filter((note) => note.id !== id));

export function say(tone: Note["tone"], text: string) {
  last += 1;
  const id = last;
  set([...notes.slice(-3), { id, tone, text }]);
  setTimeout(() => drop(id), tone === "bad" ? 12_000 : 5_000);
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (tell) => {
      watchers.add(tell);
      return () => watchers.delete(tell);
    },
    () => notes,
  );
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((note) => (
        <div key={note.id} className={`toast tone-${note.tone}`}>
          <Icon kind={note.tone} />
          <span>{note.text}</span>
          <button type="button" className="quiet small" aria-label="Close this note" onClick={() => drop(note.id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
