// The small parts that screens are made of.

import { createContext, type ReactNode, useContext, useEffect, useRef, useState } from "react";
import type { UseQueryResult } from "@tanstack/react-query";
import { ApiError } from "../api";
import { exact, moment, number, relative, size } from "../format";
import { Link } from "../route";
import { onServerTime, serverNow } from "../server_time";

const Now = createContext(0);

// The time that relative times are told from; it moves on by itself.
export function Clock({ children }: { children: ReactNode }) {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const tick = () => setNow(serverNow());
    const timer = setInterval(tick, 20_000);
    const stop = onServerTime(tick);
    return () => {
      clearInterval(timer);
      stop();
    };
  }, []);
  return <Now.Provider value={now}>{children}</Now.Provider>;
}
export const useNow = () => useContext(Now);

export function Time({ at, none = "never" }: { at: string | null | undefined; none?: string }) {
  const now = useNow();
  if (!at) return <span className="muted">{none}</span>;
  return (
    <time dateTime={at} title={exact(at)}>
      {relative(at, now)}
    </time>
  );
}

// A moment as people look it up, and how long ago it was.
export const When = ({ at }: { at: string }) => (
  <>
    <span className="nowrap" title={exact(at)}>
      {moment(at)}
    </span>
    <small className="nowrap">
      <Time at={at} />
    </small>
  </>
);

export const Size = ({ bytes }: { bytes: number | null | undefined }) => (
  <span className="figure" title={bytes ? `${number(bytes)} bytes` : undefined}>
    {size(bytes)}
  </span>
);

interface PageProps {
  title: string;
  lead?: ReactNode;
  crumbs?: { href: string; name: string }[];
  actions?: ReactNode;
  children: ReactNode;
}

// Whether nothing was shown before: whoever has just opened the address reads from its top.
let isFirst = true;

// For the heading of what is shown: the window's title says the same, and the heading takes the focus when people come
// from another screen, unless a field of this one has it.
export function useHeading(title: string) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · e3 backup`;
  }, [title]);
  useEffect(() => {
    const hasFocus = heading.current?.closest("main")?.contains(document.activeElement);
    if (!isFirst && !hasFocus) heading.current?.focus({ preventScroll: true });
    isFirst = false;
  }, []);
  return heading;
}

// A screen.
export function Page({ title, lead, crumbs, actions, children }: PageProps) {
  const heading = useHeading(title);
  return (
    <>
      <header className="page-head">
        <div>
          {crumbs && (
            <nav aria-label="Where this belongs" className="crumbs">
              {crumbs.map((crumb) => (
                <Link key={crumb.href} href={crumb.href}>
                  {crumb.name}
                </Link>
              ))}
            </nav>
          )}
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {lead && <p className="lead">{lead}</p>}
        </div>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export const Panel = ({
  title,
  actions,
  children,
  className = "",
}: {
  title?: string;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}) => (
  <section className={`panel ${className}`} aria-label={title}>
    {title && (
      <header>
        <h2>{title}</h2>
        {actions && <div className="actions">{actions}</div>}
      </header>
    )}
    {children}
  </section>
);

export const Empty = ({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) => (
  <div className="empty">
    <p className="empty-title">{title}</p>
    {children && <p>{children}</p>}
    {action && <div className="actions">{action}</div>}
  </div>
);

export const Problem = ({ error, retry }: { error: Error; retry?: () => void }) => (
  <div className="problem" role="alert">
    <p>{error.message}</p>
    {error instanceof ApiError && error.status === 403 && <p>Ask an owner of this tenant to do it, or to change your role.</p>}
    {retry && (
      <button type="button" onClick={retry}>
        Try again
      </button>
    )}
  </div>
);

// What was read, or why it is not there yet.
export function Loaded<T>({ from, children }: { from: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  if (from.data !== undefined)
    return (
      <>
        {from.error && <Problem error={from.error} retry={() => void from.refetch()} />}
        {children(from.data)}
      </>
    );
  if (from.error) return <Problem error={from.error} retry={() => void from.refetch()} />;
  return (
    <div className="loading" role="status">
      <span className="sr">Loading</span>
    </div>
  );
}

export const Facts = ({ children }: { children: ReactNode }) => <dl className="facts">{children}</dl>;
export const Fact = ({ name, children, wide }: { name: string; children: ReactNode; wide?: boolean }) => (
  <div className={wide ? "wide" : undefined}>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

export function Meter({ value, label, tone = "accent" }: { value: number; label: string; tone?: string }) {
  const whole = Math.min(100, Math.max(0, value));
  return (
    <span
      className={`meter meter-${tone}`}
      role="progressbar"
      aria-label={label}
      aria-valuenow={Math.round(whole)}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        <rect width={whole} height="6" />
      </svg>
    </span>
  );
}

export function Tabs({ label, tabs, path }: { label: string; tabs: { href: string; name: string }[]; path: string }) {
  const nav = useRef<HTMLElement>(null);
  // Where it is narrow, the tab that is open may lie beyond the edge.
  useEffect(() => {
    const here = nav.current?.querySelector<HTMLElement>("[aria-current]");
    if (nav.current && here) nav.current.scrollLeft = here.offsetLeft - nav.current.offsetLeft - 24;
  }, [path]);
  return (
    <nav ref={nav} aria-label={label} className="tabs">
      {tabs.map((tab) => (
        <Link key={tab.href} href={tab.href} aria-current={path === tab.href ? "page" : undefined}>
          {tab.name}
        </Link>
      ))}
    </nav>
  );
}

export function CopyText({ text, label }: { text: string; label: string }) {
  const [isCopied, setCopied] = useState(false);
  const code = useRef<HTMLElement>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 3000);
    } catch {
      // Without HTTPS there is no clipboard: mark the text, so that Ctrl+C takes it.
      if (code.current) getSelection()?.selectAllChildren(code.current);
    }
  };
  return (
    <div className="copy">
      <code ref={code} tabIndex={0} aria-label={label}>
        {text}
      </code>
      <button type="button" onClick={() => void copy()}>
        {isCopied ? "Copied" : "Copy"}
      </button>
    </div>
  );
}
