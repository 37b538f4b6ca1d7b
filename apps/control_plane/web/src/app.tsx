// The frame: who is signed in, the navigation, and which screen is shown.

import { useCallback, useEffect, useState } from "react";
import { ApiError, call, carryCredentials, type Overview, type Session } from "./api";
import { queries, refresh, useGet } from "./fetching";
import { listen } from "./listening";
import { capital } from "./format";
import { go, Link, match, usePath } from "./route";
import { AccountScreen } from "./screens/account";
import { AlarmsScreen, ChannelsScreen } from "./screens/alarms";
import { AuditScreen } from "./screens/audit";
import { GuideScreen } from "./screens/guide";
import { HostScreen } from "./screens/host";
import { HostsScreen } from "./screens/hosts";
import { JobScreen } from "./screens/job";
import { JobEditorScreen } from "./screens/job_editor";
import { JobsScreen } from "./screens/jobs";
import { ForOperators, ForOwners } from "./screens/manage";
import { PeopleScreen } from "./screens/people";
import { PointsScreen } from "./screens/points";
import { ProtectionScreen } from "./screens/protection";
import { RepositoriesScreen, RepositoryScreen } from "./screens/repositories";
import { RunScreen } from "./screens/run";
import { RunsScreen } from "./screens/runs";
import { SettingsScreen } from "./screens/settings";
import { Door, FirstStart, SignIn } from "./screens/sign_in";
import { TenantsScreen } from "./screens/tenants";
import { EnrolmentScreen, TokensScreen } from "./screens/tokens";
import { VmScreen } from "./screens/vm";
import { chooseTenant, chosenTenant, rememberSignedIn, useMay, useWho, wasSignedIn, Who } from "./session";
import { Guarded } from "./ui/guarded";
import { Clock, Empty, Page, Problem } from "./ui/parts";
import { ThemeSwitch } from "./ui/theme";
import { say, Toasts } from "./ui/toasts";

type State = { is: "loading" } | { is: "broken"; error: Error } | { is: "new"; needsCode: boolean } | { is: "out" } | { is: "in"; session: Session };

export function App() {
  const [state, setState] = useState<State>({ is: "loading" });
  const [tenantId, setTenantId] = useState(chosenTenant);
  const leave = useCallback(() => {
    rememberSignedIn(false);
    queries.clear();
    setState({ is: "out" });
  }, []);
  const enter = (session: Session) => {
    rememberSignedIn(true);
    setState({ is: "in", session });
  };
  const find = useCallback(async () => {
    try {
      const { needs_owner, needs_code } = await call<{ needs_owner: boolean; needs_code?: boolean }>("GET", "/setup");
      if (needs_owner) setState({ is: "new", needsCode: needs_code === true });
      else if (!wasSignedIn()) setState({ is: "out" });
      else setState({ is: "in", session: await call<Session>("GET", "/session") });
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) leave();
      else setState({ is: "broken", error: error as Error });
    }
  }, [leave]);
  useEffect(() => void find(), [find]);

  // Calls carry these from the first one on that a screen makes, so they are set before screens are drawn.
  const session = state.is === "in" ? state.session : null;
  const isOfInstallation = session?.user.tenant_id === null && session.tenants.length > 1;
  const known = session?.tenants.some((tenant) => tenant.id === tenantId) ? tenantId : "";
  carryCredentials(session?.csrf_token ?? "", isOfInstallation ? known : "", leave);

  if (state.is === "loading") return null;
  if (state.is === "broken") {
    return (
      <Door title="No answer">
        <Problem error={state.error} retry={() => void find()} />
      </Door>
    );
  }
  if (state.is === "new")
    return (
      <FirstStart
        needsCode={state.needsCode}
        onDone={(session) => {
          go("/guide", true);
          enter(session);
        }}
      />
    );
  if (state.is === "out") return <SignIn onDone={enter} />;
  const who = {
    session: state.session,
    tenantId: known,
    setTenant: (id: string) => {
      chooseTenant(id);
      setTenantId(id);
      queries.clear();
      go(placeWithoutIds(), true);
    },
    renew: async () => enter(await call<Session>("GET", "/session")),
    signOut: async () => {
      try {
        await call("DELETE", "/session");
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 401)) return say("bad", "You are still signed in: the server did not end the session. Try again.");
      }
      go("/", true);
      leave();
    },
  };
  return (
    <Who value={who}>
      <Clock>
        <Frame key={known} />
        <Toasts />
      </Clock>
    </Who>
  );
}

// Where to be when another tenant is looked at: one thing's page may be another's, and so may what a filter names.
function placeWithoutIds(): string {
  const [, kind, id] = location.pathname.split("/");
  if (!id || kind === "manage" || kind === "alarms") return location.pathname;
  return kind === "vms" ? "/" : `/${kind}`;
}

const owners = (title: string, screen: React.ReactNode) => <ForOwners title={title}>{screen}</ForOwners>;
const operators = (title: string, screen: React.ReactNode) => <ForOperators title={title}>{screen}</ForOperators>;

const SCREENS: [string, (parts: Record<string, string>) => React.ReactNode][] = [
  ["", () => <ProtectionScreen />],
  ["/guide", () => operators("The first backup", <GuideScreen />)],
  ["/vms/:id", ({ id }) => <VmScreen id={id} />],
  ["/hosts", () => <HostsScreen />],
  ["/hosts/:id", ({ id }) => <HostScreen id={id} />],
  ["/repositories", () => <RepositoriesScreen />],
  ["/repositories/:id", ({ id }) => <RepositoryScreen id={id} />],
  ["/jobs", () => <JobsScreen />],
  ["/jobs/new", () => operators("New job", <JobEditorScreen />)],
  ["/jobs/:id", ({ id }) => <JobScreen id={id} />],
  ["/jobs/:id/edit", ({ id }) => operators("Edit the job", <JobEditorScreen id={id} />)],
  ["/runs", () => <RunsScreen />],
  ["/runs/:id", ({ id }) => <RunScreen id={id} />],
  ["/points", () => <PointsScreen />],
  ["/alarms", () => <AlarmsScreen />],
  ["/alarms/channels", () => owners("Where alarms go", <ChannelsScreen />)],
  ["/manage/people", () => owners("People", <PeopleScreen />)],
  ["/manage/tokens", () => owners("API tokens", <TokensScreen />)],
  ["/manage/enrolment", () => owners("Enrolment", <EnrolmentScreen />)],
  ["/manage/tenants", () => owners("Tenants", <TenantsScreen />)],
  ["/manage/audit", () => owners("Audit log", <AuditScreen />)],
  ["/manage/settings", () => owners("Settings", <SettingsScreen />)],
  ["/account", () => <AccountScreen />],
];

function screenOf(path: string): React.ReactNode {
  for (const [pattern, show] of SCREENS) {
    const parts = match(pattern, path);
    if (parts) return show(parts);
  }
  return (
    <Page title="Nothing here">
      <Empty title="This address leads nowhere" action={<Link href="/">To the first screen</Link>}>
        What it named may have been removed, or the link is incomplete.
      </Empty>
    </Page>
  );
}

function Frame() {
  const path = usePath();
  const [isOpen, setOpen] = useState(false);
  useLive();
  useEffect(() => setOpen(false), [path]);
  return (
    <div className="frame">
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <header className="bar">
        <div className="bar-inner">
          <Link href="/" className="brand">
            <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
              <path className="ground" d="M7 0h18a7 7 0 0 1 7 7v18a7 7 0 0 1-7 7H7a7 7 0 0 1-7-7V7a7 7 0 0 1 7-7" />
              <path className="lines" d="M16 5.5 25 9v7.200c0 5-3.6 8.6-9 10.3-5.4-1.7-9-5.3-9-10.300V9zM11.7 15.800l3.1 3.1 5.6-6" />
            </svg>
            <span className="label">e3 backup</span>
          </Link>
          <button
            type="button"
            className="menu-button"
            aria-expanded={isOpen}
            aria-controls="menu"
            onClick={() => setOpen(!isOpen)}
          >
            Menu
          </button>
          <div id="menu" className={isOpen ? "menu is-open" : "menu"}>
            <Navigation path={path} />
            <Person />
          </div>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        <div key={path}>
          <Guarded>{screenOf(path)}</Guarded>
        </div>
      </main>
    </div>
  );
}

// One drawing for each place, so that people find it again without reading.
const NAV_ICONS: Record<string, string> = {
  "/guide": "M8 1.750a6.250 6.250 0 1 0 0 12.500A6.250 6.250 0 0 0 8 1.750M10.800 5.200 9.100 9.100l-3.900 1.700 1.700-3.900z",
  "/": "M8 1.500 13.500 3.600v4.100c0 3.300-2.300 5.700-5.500 6.800-3.200-1.100-5.500-3.500-5.500-6.800V3.600zM5.700 7.900l1.700 1.700 3-3.300",
  "/alarms": "M3.500 11.500h9c-1-1.100-1.300-2.300-1.300-4.500 0-2.300-1.300-3.800-3.200-3.800S4.800 4.700 4.800 7c0 2.200-.300 3.400-1.300 4.500M8 3.200V1.800M6.600 13.700c.7.700 2.100.7 2.800 0",
  "/jobs": "M3 2.500h10v11H3zM5.500 6h5M5.500 8.500h5M5.500 11h3",
  "/runs": "M2 8h2.600l1.900-4.700 3 9.400L11.400 8H14",
  "/points": "M2.500 8a5.500 5.500 0 1 0 1.700-4M2.500 2v3h3M8 5v3.200l2.200 1.300",
  "/hosts": "M2 2.500h12v4.700H2zM2 8.800h12v4.700H2zM4.300 4.850h.1M4.300 11.150h.1M7.500 4.850h4M7.500 11.150h4",
  "/repositories": "M2.500 4c0-1.200 2.500-2 5.500-2s5.500.8 5.500 2v8c0 1.200-2.500 2-5.500 2s-5.500-.8-5.500-2zM2.500 4c0 1.200 2.500 2 5.500 2s5.500-.8 5.500-2M2.500 8c0 1.200 2.500 2 5.500 2s5.500-.8 5.500-2",
  "/manage": "M8 8a2.600 2.600 0 1 0 0-5.200A2.600 2.600 0 0 0 8 8M2.800 13.700c.5-2.500 2.500-3.900 5.200-3.900s4.700 1.400 5.200 3.900",
};

const NavIcon = ({ href }: { href: string }) => (
  <svg viewBox="0 0 16 16" width="17" height="17" aria-hidden="true">
    <path d={NAV_ICONS[href.startsWith("/manage") ? "/manage" : href]} className="lines" />
  </svg>
);

function Navigation({ path }: { path: string }) {
  const may = useMay();
  const overview = useGet<Overview>("/overview");
  const open = overview.data?.decisions.length ?? 0;
  const { setup } = overview.data ?? {};
  const isNew = setup && !(setup.has_host && setup.has_repository && setup.has_job && setup.has_point);
  const items: { href: string; name: string; badge?: number }[] = [
    ...(isNew && may.operate ? [{ href: "/guide", name: "Get started" }] : []),
    { href: "/", name: "Protection" },
    { href: "/alarms", name: "Alarms", badge: open },
    { href: "/jobs", name: "Jobs" },
    { href: "/runs", name: "Runs" },
    { href: "/points", name: "Restore" },
    { href: "/hosts", name: "Hosts" },
    { href: "/repositories", name: "Repositories" },
    ...(may.own ? [{ href: "/manage/people", name: "Manage" }] : []),
  ];
  const isHere = (href: string) =>
    href === "/"
      ? path === "/" || path.startsWith("/vms/")
      : path === href || path.startsWith(`${href.startsWith("/manage") ? "/manage" : href}/`);
  return (
    <nav aria-label="Main" className="main-nav">
      <ul>
        {items.map((item) => (
          <li key={item.href}>
            <Link href={item.href} title={item.name} aria-current={isHere(item.href) ? "page" : undefined}>
              <NavIcon href={item.href} />
              <span className="label">{item.name}</span>
              {item.badge ? (
                <span className="badge">
                  {item.badge}
                  <span className="sr"> open</span>
                </span>
              ) : null}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Person() {
  const { session, tenantId, setTenant, signOut } = useWho();
  const many = session.user.tenant_id === null && session.tenants.length > 1;
  return (
    <div className="person">
      {many && (
        <label className="tenant">
          <span>Tenant</span>
          <select value={tenantId} title={session.tenants.find((tenant) => tenant.id === tenantId)?.name ?? "All tenants"} onChange={(event) => setTenant(event.target.value)}>
            <option value="">All tenants</option>
            {session.tenants.map((tenant) => (
              <option key={tenant.id} value={tenant.id}>
                {tenant.name}
              </option>
            ))}
          </select>
        </label>
      )}
      <ThemeSwitch />
      <Link href="/account" className="account" title={session.user.email}>
        <span className="initial" aria-hidden="true">
          {capital(session.user.name || session.user.email).charAt(0)}
        </span>
        <span className="label">
          {session.user.name || session.user.email}
          <small>{session.user.role}</small>
        </span>
      </Link>
      <button type="button" className="quiet" title="Sign out" onClick={() => void signOut()}>
        <svg viewBox="0 0 16 16" width="17" height="17" aria-hidden="true" className="lines">
          <path d="M6.500 2.500h-3.500v11h3.500M10 5l3 3-3 3M13 8H6.500" />
        </svg>
        <span className="label">Sign out</span>
      </button>
    </div>
  );
}

const READ_AGAIN: Record<string, string[]> = {
  run: ["/runs", "/overview", "/jobs", "/vms", "/points"],
  alarm: ["/alarms", "/overview"],
  host: ["/hosts", "/vms", "/overview"],
  // What has changed is not known: another instance changed it, or much changed at once.
  any: ["/overview", "/runs", "/alarms", "/hosts", "/vms", "/jobs", "/points", "/repositories"],
};

// Reads again what the server says has changed: a second after it is said, and not before what was asked for last is
// there, for a reading that is asked for anew is given up. Of what takes the server long, it is asked for a tenth of the
// time at most.
function useLive() {
  useEffect(() => {
    const changed = new Set<string>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let pause = 1000;
    let isOver = false;
    const readAgain = async () => {
      const paths = [...changed].flatMap((what) => READ_AGAIN[what] ?? []);
      changed.clear();
      const begun = performance.now();
      await refresh(...paths);
      pause = Math.max(1000, 9 * (performance.now() - begun));
      timer = undefined;
      if (changed.size) soon();
    };
    const soon = () => {
      if (!isOver) timer ??= setTimeout(() => void readAgain(), pause);
    };
    const hear = (event: MessageEvent<string>) => {
      changed.add((JSON.parse(event.data) as { what: string }).what);
      soon();
    };
    const stop = listen("/live", (source) => source.addEventListener("change", hear), () => void refresh("/"));
    return () => {
      isOver = true;
      clearTimeout(timer);
      stop();
    };
  }, []);
}
