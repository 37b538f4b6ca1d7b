// The server's time: what is told as "two hours ago" is told by its clock, which need not be this machine's. On a
// simulated host it runs faster than anybody's.

let ahead_ms = 0;
const watchers = new Set<() => void>();

export const serverNow = () => Date.now() + ahead_ms;

// Takes the time that the server has just told.
export function hearServerTime(at: string) {
  const heard = Date.parse(at) - Date.now();
  // Less than this is the way here, and no difference between clocks.
  if (Number.isNaN(heard) || Math.abs(heard - ahead_ms) < 2000) return;
  ahead_ms = Math.abs(heard) < 2000 ? 0 : heard;
  watchers.forEach((tell) => tell());
}

export function onServerTime(tell: () => void) {
  watchers.add(tell);
  return () => {
    watchers.delete(tell);
  };
}
