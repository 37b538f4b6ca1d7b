// Folders, as an agent lists them: of its host, or inside a point.

import { useEffect, useState } from "react";
import { type BrowseResult, type Command, commandDone } from "../api";
import { size } from "../format";
import { Problem } from "../ui/parts";

interface BrowserProps {
  label: string;
  start: (folder: string) => Promise<Command>;
  // What is ticked, where files are chosen.
  chosen?: string[];
  onChoose?: (paths: string[]) => void;
  // The folder that is open, where a folder is chosen.
  onFolder?: (folder: string) => void;
}

export function Browser({ label, start, chosen, onChoose, onFolder }: BrowserProps) {
  const [folder, setFolder] = useState("");
  const [again, setAgain] = useState(0);
  const [listing, setListing] = useState<BrowseResult | null>(null);
  const [error, setError] = useState<Error | null>(null);
  useEffect(() => {
    const ended = new AbortController();
    setListing(null);
    setError(null);
    start(folder)
      .then((command) => commandDone(command, ended.signal))
      .then((command) => {
        const result = command.result as BrowseResult | null;
        if (result?.error) throw new Error(result.error);
        if (!ended.signal.aborted) setListing(result);
      })
      .catch((cause: Error) => {
        if (!ended.signal.aborted) setError(cause);
      });
    return () => ended.abort();
    // `start` is made anew with every drawing; what it lists is told by the folder.
  }, [folder, again]);

  const open = (path: string) => {
    setFolder(path);
    onFolder?.(path);
  };
  const toggle = (path: string) =>
    onChoose?.(chosen?.includes(path) ? chosen.filter((p) => p !== path) : [...(chosen ?? []), path]);
  return (
    <div className="browser" role="group" aria-label={label}>
      <p className="browser-path">
        <button type="button" className="small" disabled={!folder} onClick={() => open(listing?.parent ?? "")}>
          Up
        </button>
        <code>{folder || "Top"}</code>
      </p>
      {error ? (
        <Problem error={error} retry={() => setAgain(again + 1)} />
      ) : !listing ? (
        <p className="muted" role="status">
          Asking the agent…
        </p>
      ) : (
        <ul>
          {listing.entries
            .filter((entry) => onChoose || entry.is_dir)
            .map((entry) => (
              <li key={entry.path}>
                {onChoose && (
                  <input
                    type="checkbox"
                    aria-label={`Choose ${entry.name}`}
                    checked={chosen?.includes(entry.path) ?? false}
                    onChange={() => toggle(entry.path)}
                  />
                )}
                {entry.is_dir ? (
                  <button type="button" className="link" onClick={() => open(entry.path)}>
                    {entry.name}
                    <span aria-hidden="true"> ›</span>
                  </button>
                ) : (
                  <span>{entry.name}</span>
                )}
                {!entry.is_dir && <span className="muted figure">{size(entry.size)}</span>}
              </li>
            ))}
          {listing.entries.length === 0 && <li className="muted">Nothing in here.</li>}
        </ul>
      )}
    </div>
  );
}
