// The theme: the system's, unless light or dark was chosen here.

import { useState } from "react";

const NEXT = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT;

function current(): Theme {
  const set = document.documentElement.dataset.theme;
  return set === "light" || set === "dark" ? set : "system";
}

export function ThemeSwitch() {
  const [theme, setTheme] = useState(current);
  const change = () => {
    const next = NEXT[theme];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem("e3.theme");
      else localStorage.setItem("e3.theme", next);
    } catch {
      // Without storage it holds for this visit.
    }
    setTheme(next);
  };
  return (
    <button type="button" className="quiet theme" onClick={change} title="The page is as light or dark as your system, or always light, or always dark">
      <svg viewBox="0 0 16 16" width="17" height="17" aria-hidden="true">
        <circle cx="8" cy="8" r="6.5" className="outline" />
        <path d="M8 1.500a6.5 6.5 0 0 1 0 13z" className="half" />
      </svg>
      <span className="label">Theme: {theme}</span>
    </button>
  );
}
