// Repositories: where backups rest, and how they are looked after.

import { useState } from "react";
import { call, type Operation, type Repository } from "../api";
import { capital, count, everyHours, plain, proofName, size } from "../format";
import { refresh, useAct, useGet, useList } from "../fetching";
import { go, Link } from "../route";
import { useMay } from "../session";
import { ConfirmButton, Dialog, DialogFooter } from "../ui/dialog";
import { Choice, ChooseAndDo, FormError, NumberField, TextField, useSending } from "../ui/form";
import { CopyText, Empty, Fact, Facts, Loaded, Meter, Page, Panel, Size, Time, When } from "../ui/parts";
import { RunStatusMark, Status } from "../ui/status";
import { Table } from "../ui/table";
import { useTenantOfNew } from "../ui/tenant";
import { say } from "../ui/toasts";

const place = (repository: Repository) =>
  repository.kind === "local" ? `${repository.path}${repository.host_name ? ` on ${repository.host_name}` : ""}` : `${repository.bucket}/${repository.prefix ?? ""} on ${repository.endpoint}`;

function due(repository: Repository): string | null {
  const late = [repository.maintenance_due && "maintenance", repository.verification_due && "verification"].filter(Boolean);
  return late.length ? `${late.join(" and ")} due` : null;
}

const Care = ({ repository }: { repository: Repository }) =>
  due(repository) ? <Status tone="warning">{plain(due(repository) ?? "")}</Status> : <Status tone="good">Looked after</Status>;

function Filling({ repository }: { repository: Repository }) {
  if (!repository.limit_bytes) return <Size bytes={repository.stored_bytes} />;
  const filled = ((repository.stored_bytes ?? 0) / repository.limit_bytes) * 100;
  return (
    <span className="filling">
      <Meter value={filled} tone={filled > 90 ? "bad" : "accent"} label={`${repository.name} is filled`} />
      <span className="figure">
        {size(repository.stored_bytes)} of {size(repository.limit_bytes)}
      </span>
    </span>
  );
}

export function RepositoriesScreen() {
  const repositories = useList<Repository>("/repositories");
  const [isAdding, setAdding] = useState(false);
  const may = useMay();
  const add = may.own && (
    <button type="button" className="primary" onClick={() => setAdding(true)}>
      Add a repository
    </button>
  );
  return (
    <Page title="Repositories" lead="Where backups rest: encrypted on the host, readable by stock Kopia." actions={add}>
      <Panel className="flush">
        <Loaded from={repositories}>
          {(items) => (
            <Table
              label="Repositories"
              rows={items}
              keyOf={(repository) => repository.id}
              empty={
                <Empty title="No repository yet" action={add}>
                  A repository is a bucket on S3 storage or a folder. Points of all hosts share it, so what is the same is stored once.
                </Empty>
              }
              columns={[
                { head: "Care", className: "mark", cell: (repository) => <Care repository={repository} /> },
                {
                  head: "Repository",
                  isName: true,
                  by: (repository) => repository.name,
                  cell: (repository) => (
                    <>
                      <Link href={`/repositories/${repository.id}`}>{repository.name}</Link>
                      <small>{place(repository)}</small>
                    </>
                  ),
                },
                { head: "Stored", isNumber: true, className: "wordy", by: (repository) => repository.stored_bytes ?? -1, cell: (repository) => <Filling repository={repository} /> },
                { head: "Points", isNumber: true, by: (repository) => repository.point_count, cell: (repository) => repository.point_count },
                { head: "Jobs", isNumber: true, by: (repository) => repository.job_count, cell: (repository) => repository.job_count },
                { head: "Maintained", cell: (repository) => <Time at={repository.last_full_at ?? repository.last_quick_at} /> },
                { head: "Verified", cell: (repository) => <Time at={repository.last_verified_at} /> },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {isAdding && (
        <Dialog title="Add a repository" onClose={() => setAdding(false)}>
          <RepositoryForm onCancel={() => setAdding(false)} onDone={() => setAdding(false)} />
        </Dialog>
      )}
    </Page>
  );
}

const NEW_REPOSITORY = {
  name: "",
  kind: "s3" as Repository["kind"],
  endpoint: "",
  region: "",
  bucket: "",
  prefix: "",
  path: "",
  limit_bytes: null as number | null,
  quick_every_hours: 24,
  full_every_hours: 168,
  verify_every_hours: 168,
  verify_percent: 5,
};
const GIB = 1024 ** 3;

interface RepositoryFormProps {
  repository?: Repository;
  onDone: (repository: Repository) => void;
  // Where it stands in a dialog.
  onCancel?: () => void;
}

export function RepositoryForm({ repository, onDone, onCancel }: RepositoryFormProps) {
  const { tenant, field } = useTenantOfNew();
  const [form, setForm] = useState(() => {
    if (!repository) return NEW_REPOSITORY;
    const { name, kind, endpoint, region, bucket, prefix, path, limit_bytes, quick_every_hours, full_every_hours, verify_every_hours, verify_percent } = repository;
    return { name, kind, endpoint, region, bucket, prefix, path, limit_bytes, quick_every_hours, full_every_hours, verify_every_hours, verify_percent };
  });
  const [keys, setKeys] = useState({ access_key: "", secret_key: "" });
  const [password, setPassword] = useState("");
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change });
  const sending = useSending(async () => {
    const { name, kind, limit_bytes, quick_every_hours, full_every_hours, verify_every_hours, verify_percent } = form;
    // Where it lies is settled when it is made: what is there would be left behind otherwise.
    const reached = kind === "s3" ? { endpoint: form.endpoint, region: form.region, ...(keys.access_key && { access_key: keys.access_key }), ...(keys.secret_key && { secret_key: keys.secret_key }) } : {};
    const lies = kind === "s3" ? { bucket: form.bucket, prefix: form.prefix } : { path: form.path };
    const body = { name, ...reached, limit_bytes, quick_every_hours, full_every_hours, verify_every_hours, verify_percent, ...(password && { password }) };
    const saved = repository
      ? await call<Repository>("PATCH", `/repositories/${repository.id}`, body)
      : await call<Repository>("POST", "/repositories", { ...body, ...lies, kind, ...tenant });
    await refresh("/repositories", "/overview");
    onDone(saved);
  });
  const isS3 = form.kind === "s3";
  const fields = ["name", "endpoint", "region", "bucket", "prefix", "path", "access_key", "secret_key", "password", "limit_bytes"];
  return (
    <form onSubmit={sending.onSubmit}>
      <div className={onCancel ? "dialog-body" : ""}>
        {!repository && field}
        {!repository && (
          <Choice
            label="Kind"
            value={form.kind}
            onChange={(kind) => set({ kind })}
            options={[
              { value: "s3", name: "S3 storage", hint: "Any S3-compatible service" },
              { value: "local", name: "Folder", hint: "On the host or a share it reaches" },
            ]}
          />
        )}
        <TextField label="Name" required value={form.name} onChange={(name) => set({ name })} error={sending.errorOf("name")} />
        {isS3 ? (
          <>
            <TextField label="Endpoint" required type="url" placeholder="https://s3.example.com" value={form.endpoint} onChange={(endpoint) => set({ endpoint })} error={sending.errorOf("endpoint")} />
            <div className="two">
              <TextField label="Bucket" required readOnly={Boolean(repository)} value={form.bucket} onChange={(bucket) => set({ bucket })} error={sending.errorOf("bucket")} />
              <TextField label="Region" value={form.region} onChange={(region) => set({ region })} error={sending.errorOf("region")} />
            </div>
            <TextField label="Prefix" readOnly={Boolean(repository)} hint="A folder in the bucket; may be empty." value={form.prefix} onChange={(prefix) => set({ prefix })} error={sending.errorOf("prefix")} />
            <div className="two">
              <TextField label="Access key" required={!repository} autoComplete="off" spellCheck={false} value={keys.access_key} onChange={(access_key) => setKeys({ ...keys, access_key })} error={sending.errorOf("access_key")} />
              <TextField label="Secret key" required={!repository || Boolean(keys.access_key)} type="password" autoComplete="new-password" value={keys.secret_key} onChange={(secret_key) => setKeys({ ...keys, secret_key })} error={sending.errorOf("secret_key")} />
            </div>
            {repository && <p className="hint">A key that is left empty stays as it is.</p>}
          </>
        ) : (
          <TextField label="Folder" required readOnly={Boolean(repository)} spellCheck={false} placeholder="E:\Backups or /srv/backups" value={form.path} onChange={(path) => set({ path })} error={sending.errorOf("path")} />
        )}
        <details className="more">
          <summary>Limit, maintenance, password</summary>
          <NumberField
            label="Limit"
            unit="GiB"
            min={1}
            hint="An alarm is raised at nine tenths of it. Empty: no limit."
            value={form.limit_bytes === null ? null : Math.round(form.limit_bytes / GIB)}
            onChange={(gib) => set({ limit_bytes: gib === null ? null : gib * GIB })}
            error={sending.errorOf("limit_bytes")}
          />
          <div className="two">
            <NumberField label="Quick maintenance every" hint="0: never" unit="h" min={0} required value={form.quick_every_hours} onChange={(n) => set({ quick_every_hours: n ?? 24 })} />
            <NumberField label="Full maintenance every" hint="0: never" unit="h" min={0} required value={form.full_every_hours} onChange={(n) => set({ full_every_hours: n ?? 168 })} />
          </div>
          <div className="two">
            <NumberField label="Verify every" hint="0: never" unit="h" min={0} required value={form.verify_every_hours} onChange={(n) => set({ verify_every_hours: n ?? 168 })} />
            <NumberField label="Of the content" hint="0: its structure alone" unit="%" min={0} max={100} required value={form.verify_percent} onChange={(n) => set({ verify_percent: n ?? 5 })} />
          </div>
          <TextField
            label="Password"
            type="password"
            autoComplete="new-password"
            hint={
              repository
                ? "The one that opens the repository, where the server's is wrong or lost. Empty: it stays. The repository's own is not changed by it."
                : "Only for a repository that exists already. Empty: a strong one is made, and you can look it up later."
            }
            value={password}
            onChange={setPassword}
            error={sending.errorOf("password")}
          />
        </details>
        <FormError error={sending.error} fields={fields} />
        {!onCancel && (
          <button type="submit" className="primary" disabled={sending.isBusy}>
            Save the repository
          </button>
        )}
      </div>
      {onCancel && <DialogFooter onClose={onCancel} disabled={sending.isBusy} action="Save" />}
    </form>
  );
}

const QUEUED = "Queued: a host that uses the repository does it next.";
const OPERATIONS = [
  { kind: "maintenance_quick", name: "Quick maintenance" },
  { kind: "maintenance_full", name: "Full maintenance" },
  { kind: "retention_apply", name: "Apply retention" },
];
// A verification is asked for by a button of its own, which says what it costs; points are listed by themselves alone.
const OTHER_OPERATIONS: Record<string, string> = { verify: "Verification", list_points: "List of points" };
const operationName = (kind: string) => OPERATIONS.find((o) => o.kind === kind)?.name ?? OTHER_OPERATIONS[kind] ?? plain(kind);

export function RepositoryScreen({ id }: { id: string }) {
  const repository = useGet<Repository>(`/repositories/${id}`);
  const operations = useGet<{ items: Operation[] }>(`/repositories/${id}/operations?limit=50`, { every: 10_000 });
  const [isEditing, setEditing] = useState(false);
  const [isShowing, setShowing] = useState(false);
  const [isVerifying, setVerifying] = useState(false);
  const may = useMay();
  const begin = useAct((kind: string) => call("POST", `/repositories/${id}/operations`, { kind }), {
    done: QUEUED,
    again: ["/repositories"],
  });
  const move = useAct(() => call("PATCH", `/repositories/${id}`, { host_id: null }), {
    done: "The next host that uses it has the folder.",
    again: ["/repositories"],
  });
  const remove = useAct(() => call("DELETE", `/repositories/${id}`), { done: "Removed.", again: ["/repositories", "/overview"] });
  return (
    <Page
      title={repository.data?.name ?? "Repository"}
      crumbs={[{ href: "/repositories", name: "Repositories" }]}
      lead={repository.data && <Care repository={repository.data} />}
      actions={
        <>
          {may.own && (
            <>
              <button type="button" onClick={() => setShowing(true)}>
                Password…
              </button>
              <button type="button" onClick={() => setEditing(true)}>
                Edit
              </button>
            </>
          )}
          {may.operate && repository.data && (
            <button type="button" onClick={() => setVerifying(true)}>
              Verify now…
            </button>
          )}
          {may.operate && (
            <ChooseAndDo
              label="Do something with the repository"
              prompt="Do now…"
              action="Start"
              options={OPERATIONS.map(({ kind, name }) => ({ value: kind, name }))}
              isBusy={begin.isPending}
              onDo={(kind) => begin.mutate(kind)}
            />
          )}
        </>
      }
    >
      <Loaded from={repository}>
        {(data) => (
          <>
            <Panel title="State">
              <Facts>
                <Fact name="Where" wide>
                  {place(data)}
                </Fact>
                <Fact name="Stored">
                  <Filling repository={data} />
                  <small>
                    measured <Time at={data.measured_at} />
                  </small>
                </Fact>
                <Fact name="Used by">
                  {count(data.job_count, "job")}, {count(data.point_count, "point")}
                </Fact>
                <Fact name="Quick maintenance">
                  <Time at={data.last_quick_at} />
                  <small>{everyHours(data.quick_every_hours)}</small>
                </Fact>
                <Fact name="Full maintenance">
                  <Time at={data.last_full_at} />
                  <small>{everyHours(data.full_every_hours)}</small>
                </Fact>
                <Fact name="Verified">
                  <Time at={data.last_verified_at} />
                  <small>
                    {data.verify_every_hours > 0 && `${data.verify_percent} % `}
                    {everyHours(data.verify_every_hours)}
                  </small>
                </Fact>
                <Fact name="Points last compared with the repository">
                  <Time at={data.last_listed_at} />
                </Fact>
              </Facts>
            </Panel>
            <Panel title="Maintenance and verification" className="flush">
              <Loaded from={operations}>
                {({ items }) => (
                  <Table
                    label="Work on the repository"
                    rows={items}
                    keyOf={(operation) => operation.id}
                    empty={<Empty title="Nothing was done yet">After the first backup, maintenance is done by itself, as often as it says above.</Empty>}
                    columns={[
                      { head: "State", className: "mark", cell: (operation) => <RunStatusMark status={operation.status} /> },
                      { head: "What", isName: true, className: "nowrap", cell: (operation) => operationName(operation.kind) },
                      { head: "Asked for", cell: (operation) => <When at={operation.created_at} /> },
                      { head: "Ended", cell: (operation) => <Time at={operation.finished_at} none="not yet" /> },
                      { head: "Result", className: "wordy detail", cell: (operation) => <OperationResult result={operation.result} /> },
                    ]}
                  />
                )}
              </Loaded>
            </Panel>
            {may.own && (
              <p className="below actions">
                {data.host_id && (
                  <ConfirmButton
                    label="Moved to another host…"
                    confirm="It was moved"
                    title={`Is the folder of ${data.name} at another host now?`}
                    onConfirm={() => move.mutateAsync(undefined)}
                  >
                    <p>
                      It is bound to {data.host_name ?? "a host"}. If its disk or folder was moved, the next host that uses it has it from then on. Do
                      this only if {data.host_name ?? "that host"} no longer writes there.
                    </p>
                  </ConfirmButton>
                )}
                <ConfirmButton
                  className="danger-quiet"
                  label="Remove this repository…"
                  title={`Remove ${data.name}?`}
                  confirm="Remove the repository"
                  onConfirm={async () => {
                    await remove.mutateAsync(undefined);
                    go("/repositories");
                  }}
                >
                  <p>The server forgets it and its password. What is stored there stays, readable only by whoever knows the password.</p>
                </ConfirmButton>
              </p>
            )}
            {isEditing && (
              <Dialog title={`Edit ${data.name}`} onClose={() => setEditing(false)}>
                <RepositoryForm repository={data} onCancel={() => setEditing(false)} onDone={() => setEditing(false)} />
              </Dialog>
            )}
            {isShowing && <PasswordDialog id={id} onClose={() => setShowing(false)} />}
            {isVerifying && <VerifyDialog repository={data} onClose={() => setVerifying(false)} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

// What an operation told, in words; what it told that we do not know stays as it is.
function OperationResult({ result }: { result: unknown }) {
  if (!result) return null;
  if (typeof result === "string") return <>{result}</>;
  const told = result as Record<string, unknown>;
  if (typeof told.error === "string" || typeof told.message === "string") return <>{capital(String(told.error ?? told.message))}</>;
  const { stored_bytes, deleted_count, removed_points: _, sources_count, how, verified_points, damaged_points, listed, ...rest } = told;
  const points = (listed as { points?: unknown[] } | undefined)?.points;
  const ofSources = typeof sources_count === "number" ? ` of ${count(sources_count, "VM or folder", "VMs and folders")}` : "";
  const words = [
    typeof stored_bytes === "number" && `${size(stored_bytes)} stored`,
    typeof deleted_count === "number" && `${deleted_count ? count(deleted_count, "point") : "no point"}${ofSources} removed`,
    Array.isArray(points) && `${count(points.length, "point")} found`,
    Array.isArray(verified_points) && `${count(verified_points.length, "point")} found whole`,
    Array.isArray(damaged_points) && damaged_points.length > 0 && `${count(damaged_points.length, "point")} damaged`,
    typeof how === "string" && proofName(how),
    ...Object.entries(rest).map(([key, value]) => `${plain(key)} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`),
  ].filter(Boolean);
  return <>{capital(words.join(", "))}</>;
}

function VerifyDialog({ repository, onClose }: { repository: Repository; onClose: () => void }) {
  const sending = useSending(async () => {
    await call("POST", `/repositories/${repository.id}/operations`, { kind: "verify" });
    await refresh("/repositories");
    say("good", QUEUED);
    onClose();
  });
  return (
    <Dialog title={`Verify ${repository.name}?`} onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          <p>
            A host that uses the repository, with an agent of 2.0 or newer, reads the structure of every point, and looks whether all that it needs is
            stored.{" "}
            {repository.verify_percent > 0
              ? `Of the content, ${repository.verify_percent} % is read back too, decrypted and compared: another sample each time.`
              : "The content itself is not read: the repository's settings say 0 %."}
          </p>
          <p className="muted">No data is changed, and backups go on meanwhile. It can take hours, and storage may charge for what is read. Damaged points raise an alarm.</p>
          <FormError error={sending.error} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Verify now" />
      </form>
    </Dialog>
  );
}

function PasswordDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const [mine, setMine] = useState("");
  const [shown, setShown] = useState("");
  const sending = useSending(async () => {
    const { password } = await call<{ password: string }>("POST", `/repositories/${id}/password`, { password: mine });
    setShown(password);
  });
  return (
    <Dialog title="The repository's password" onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          {shown ? (
            <>
              <p>With it, stock Kopia opens the repository without this server. Keep it in a safe place. That you saw it stands in the audit log.</p>
              <CopyText text={shown} label="The repository's password" />
            </>
          ) : (
            <>
              <p>Give your own password to see it.</p>
              <TextField label="Your password" type="password" autoComplete="current-password" required autoFocus value={mine} onChange={setMine} error={sending.errorOf("password")} />
              <FormError error={sending.error} fields={["password"]} />
            </>
          )}
        </div>
        <footer>
          <button type="button" onClick={onClose}>
            Close
          </button>
          {!shown && (
            <button type="submit" className="primary" disabled={sending.isBusy}>
              Show it
            </button>
          )}
        </footer>
      </form>
    </Dialog>
  );
}
