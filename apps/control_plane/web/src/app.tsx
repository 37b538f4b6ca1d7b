// The frame: who is signed in, the navigation, and which screen is shown.

import { useCallback, useEffect, useState } from "react";
import { ApiError, call, carryCredentials, type Overview, type Session } from "./api";
import { queries, refresh, useGet } from "./fetching";
import { listen } from "./listening";
import { go, Link, match, usePath } from "./route";
import { AccountScreen } from "./screens/account";
import { AlarmsScreen, ChannelsScreen } from "./screens/alarms";
import { GuideScreen } from "./screens/guide";
import { HostScreen } from "./screens/host";
import { HostsScreen } from "./screens/hosts";
import { JobScreen } from "./screens/job";
import { JobEditorScreen } from "./screens/job_editor";
import { JobsScreen } from "./screens/jobs";
import { AuditScreen, EnrolmentScreen, PeopleScreen, SettingsScreen, TenantsScreen, TokensScreen } from "./screens/manage";
import { PointsScreen } from "./screens/points";
import { ProtectionScreen } from "./screens/protection";
import { RepositoriesScreen, RepositoryScreen } from "./screens/repositories";
import { RunScreen } from "./screens/run";
import { RunsScreen } from "./screens/runs";
import { FirstStart, SignIn } from "./screens/sign_in";
import { VmScreen } from "./screens/vm";
import { chooseTenant, chosenTenant, rememberSignedIn, useMay, useWho, wasSignedIn, Who } from "./session";
import { Clock, Empty, Page, Problem } from "./ui/parts";
import { ThemeSwitch } from "./ui/theme";
import { Toasts } from "./ui/toasts";

type State = { is: "loading" } | { is: "broken"; error: Error } | { is: "new" } | { is: "out" } | { is: "in"; session: Session };

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
      const { needs_owner } = await call<{ needs_owner: boolean }>("GET", "/setup");
      if (needs_owner) setState({ is: "new" });
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
      <main className="door">
        <Problem error={state.error} retry={() => void find()} />
      </main>
    );
  }
  if (state.is === "new")
    return (
      <FirstStart
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
    },
    renew: async () => enter(await call<Session>("GET", "/session")),
    signOut: async () => {
      await call("DELETE", "/session").catch(() => undefined);
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

const SCREENS: [string, (parts: Record<string, string>) => React.ReactNode][] = [
  ["", () => <ProtectionScreen />],
  ["/guide", () => <GuideScreen />],
  ["/vms/:id", ({ id }) => <VmScreen id={id} />],
  ["/hosts", () => <HostsScreen />],
  ["/hosts/:id", ({ id }) => <HostScreen id={id} />],
  ["/repositories", () => <RepositoriesScreen />],
  ["/repositories/:id", ({ id }) => <RepositoryScreen id={id} />],
  ["/jobs", () => <JobsScreen />],
  ["/jobs/new", () => <JobEditorScreen />],
  ["/jobs/:id", ({ id }) => <JobScreen id={id} />],
  ["/jobs/:id/edit", ({ id }) => <JobEditorScreen id={id} />],
  ["/runs", () => <RunsScreen />],
  ["/runs/:id", ({ id }) => <RunScreen id={id} />],
  ["/points", () => <PointsScreen />],
  ["/alarms", () => <AlarmsScreen />],
  ["/alarms/channels", () => <ChannelsScreen />],
  ["/manage/people", () => <PeopleScreen />],
  ["/manage/tokens", () => <TokensScreen />],
  ["/manage/enrolment", () => <EnrolmentScreen />],
  ["/manage/tenants", () => <TenantsScreen />],
  ["/manage/audit", () => <AuditScreen />],
  ["/manage/settings", () => <SettingsScreen />],
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
        <Link href="/" className="brand">
          <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
            <path className="ground" d="M7 0h18a7 7 0 0 1 7 7v18a7 7 0 0 1-7 7H7a7 7 0 0 1-7-7V7a7 7 0 0 1 7-7" />
            <path className="lines" d="M16 5.5 25 9v7.200c0 5-3.6 8.6-9 10.3-5.4-1.7-9-5.3-9-10.300V9zM11.7 15.800l3.1 3.1 5.6-6" />
          </svg>
          <span>e3 backup</span>
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
      </header>
      <main id="content" tabIndex={-1}>
        <div key={path}>{screenOf(path)}</div>
      </main>
    </div>
  );
}

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
    ...(may.own
      ? [{ href: "/manage/people", name: "Manage" }]
      : may.operate
        ? [{ href: "/manage/enrolment", name: "Manage" }]
        : []),
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
            <Link href={item.href} aria-current={isHere(item.href) ? "page" : undefined}>
              {item.name}
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
          <select value={tenantId} onChange={(event) => setTenant(event.target.value)}>
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
        {session.user.name || session.user.email}
        <small>{session.user.role}</small>
      </Link>
      <button type="button" className="quiet" onClick={() => void signOut()}>
        Sign out
      </button>
    </div>
  );
}

const READ_AGAIN: Record<string, string[]> = {
  run: ["/runs", "/overview", "/jobs", "/vms", "/points"],
  alarm: ["/alarms", "/overview"],
  host: ["/hosts", "/vms", "/overview"],
  command: ["/commands"],
};

// Reads again what the server says has changed, at most once a second.
function useLive() {
  useEffect(() => {
    const changed = new Set<string>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hear = (event: MessageEvent<string>) => {
      changed.add((JSON.parse(event.data) as { what: string }).what);
      timer ??= setTimeout(() => {
        timer = undefined;
        void refresh(...[...changed].flatMap((what) => READ_AGAIN[what] ?? []));
        changed.clear();
      }, 1000);
    };
    const stop = listen("/live", (source) => source.addEventListener("change", hear), () => void refresh("/"));
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, []);
}
