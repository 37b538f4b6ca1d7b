// The guide to the first backup: a repository, a host, a job, and the first run watched live.

import { useState } from "react";
import { call, type Host, type Job, type Overview, type Repository, type Run } from "../api";
import { useAct, useGet, useList } from "../fetching";
import { go, Link, useQueryValue } from "../route";
import { useMay } from "../session";
import { Empty, Loaded, Page, Panel } from "../ui/parts";
import { Status } from "../ui/status";
import { EnrolHost, HostState } from "./hosts";
import { JobForm } from "./job_editor";
import { coverage } from "./jobs";
import { RepositoryForm } from "./repositories";

const STEPS = ["Repository", "Host", "Job", "First run"];

export function GuideScreen() {
  const overview = useGet<Overview>("/overview", { every: 5000 });
  return (
    <Page title="The first backup" lead="Four steps. You can leave at any time and come back.">
      <Loaded from={overview}>{(data) => <Guide setup={data.setup} />}</Loaded>
    </Page>
  );
}

function Guide({ setup }: { setup: Overview["setup"] }) {
  const done = [setup.has_repository, setup.has_host, setup.has_job, setup.has_point];
  const first = done.indexOf(false);
  const [chosen, setChosen] = useQueryValue("step");
  const step = chosen ? Number(chosen) - 1 : first === -1 ? 3 : first;
  const next = () => setChosen(String(Math.min(step + 2, STEPS.length)));
  return (
    <>
      <nav aria-label="Steps" className="steps">
        <ol>
          {STEPS.map((name, i) => (
            <li key={name}>
              <button type="button" aria-current={i === step ? "step" : undefined} onClick={() => setChosen(String(i + 1))}>
                <span className="step-mark" aria-hidden="true">
                  {done[i] ? "✓" : i + 1}
                </span>
                {name}
                {done[i] && <span className="sr"> (done)</span>}
              </button>
            </li>
          ))}
        </ol>
      </nav>
      {step === 0 && <RepositoryStep onNext={next} />}
      {step === 1 && <HostStep onNext={next} />}
      {step === 2 && <JobStep onNext={next} />}
      {step === 3 && <RunStep />}
    </>
  );
}

const Next = ({ onNext, children }: { onNext: () => void; children: string }) => (
  <p className="below">
    <button type="button" className="primary" onClick={onNext}>
      {children}
    </button>
  </p>
);

function RepositoryStep({ onNext }: { onNext: () => void }) {
  const repositories = useList<Repository>("/repositories");
  const [isMore, setMore] = useState(false);
  const may = useMay();
  return (
    <Panel title="Where backups rest">
      <Loaded from={repositories}>
        {(items) =>
          items.length > 0 && !isMore ? (
            <>
              <ul className="tight">
                {items.map((repository) => (
                  <li key={repository.id}>
                    <Status tone="good">{repository.name}</Status>
                  </li>
                ))}
              </ul>
              <p className="actions below">
                <button type="button" className="primary" onClick={onNext}>
                  Next: the host
                </button>
                <button type="button" onClick={() => setMore(true)}>
                  Add another
                </button>
              </p>
            </>
          ) : may.own ? (
            <>
              <p className="muted">
                A bucket on S3 storage, or a folder. Everything is encrypted before it leaves the host; the password is made here, and you can look it
                up.
              </p>
              <RepositoryForm onDone={onNext} />
            </>
          ) : (
            <Empty title="An owner has to add a repository">Ask one; then go on here.</Empty>
          )
        }
      </Loaded>
    </Panel>
  );
}

function HostStep({ onNext }: { onNext: () => void }) {
  const hosts = useList<Host>("/hosts");
  const may = useMay();
  return (
    <Panel title="The machine to protect">
      {hosts.data && hosts.data.length > 0 && (
        <ul className="tight">
          {hosts.data.map((host) => (
            <li key={host.id}>
              <HostState host={host} /> {host.name}
            </li>
          ))}
        </ul>
      )}
      {may.own ? <EnrolHost /> : <Empty title="An owner enrols hosts">Ask one for an enrolment token; the host appears here within seconds.</Empty>}
      {hosts.data && hosts.data.length > 0 && <Next onNext={onNext}>Next: the job</Next>}
    </Panel>
  );
}

function JobStep({ onNext }: { onNext: () => void }) {
  const jobs = useList<Job>("/jobs");
  const [isMore, setMore] = useState(false);
  return (
    <Loaded from={jobs}>
      {(items) =>
        items.length > 0 && !isMore ? (
          <Panel title="What is backed up">
            <ul className="tight">
              {items.map((job) => (
                <li key={job.id}>
                  <Status tone="good">{job.name}</Status> <span className="muted">{coverage(job)}</span>
                </li>
              ))}
            </ul>
            <p className="actions below">
              <button type="button" className="primary" onClick={onNext}>
                Next: the first run
              </button>
              <button type="button" onClick={() => setMore(true)}>
                Make another
              </button>
            </p>
          </Panel>
        ) : (
          <JobForm
            onDone={() => {
              setMore(false);
              onNext();
            }}
          />
        )
      }
    </Loaded>
  );
}

function RunStep() {
  const jobs = useList<Job>("/jobs");
  const runs = useGet<{ items: Run[] }>("/runs?kind=backup&limit=5", { every: 3000 });
  const start = useAct(
    async (id: string) => {
      const run = await call<Run>("POST", `/jobs/${id}/runs`, {});
      go(`/runs/${run.id}`);
    },
    { again: ["/runs", "/overview"] },
  );
  const going = runs.data?.items[0];
  return (
    <Panel title="The first run">
      <p className="muted">The first backup reads everything once. From then on only what has changed is read.</p>
      <Loaded from={jobs}>
        {(items) =>
          items.length === 0 ? (
            <Empty title="There is no job yet">Make one in the step before.</Empty>
          ) : (
            <p className="actions">
              {items.slice(0, 3).map((job) => (
                <button key={job.id} type="button" className="primary" disabled={start.isPending} onClick={() => start.mutate(job.id)}>
                  Run “{job.name}” now and watch
                </button>
              ))}
            </p>
          )
        }
      </Loaded>
      {going && (
        <p>
          <Link href={`/runs/${going.id}`}>Watch the newest run</Link>
        </p>
      )}
      <p className="below">
        <Link href="/">To the first screen</Link>
      </p>
    </Panel>
  );
}
