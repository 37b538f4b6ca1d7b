"""What there is on the server that Schemathesis calls: two tenants with people, and one whose hosts, jobs, runs,
points and alarms came about as they do, through the people's API and the agents' API.

Everything is made by calls; nothing is written into the database.
"""

import datetime
import http.client
import json
import time
import urllib.parse

AGENTS = "/modules/addons/cloudstorage/api/"
PASSWORD = "only for Schemathesis"
JSON = {"Content-Type": "application/json"}


# The server looks for alarms every half minute; the first time comes soon, or something is wrong.
ALARM_SECONDS_MAX = 600


def moment(minutes=0):
    """Returns the time in so many minutes, as agents write it."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    """An answer that filling cannot go on with."""


class Caller:
    """Somebody who calls the server, with headers of their own."""

    def __init__(self, address, headers=None):
        self.address = address
        self.headers = headers or {}

    def call(self, method, path, body=b"", headers=None):
        """Returns the headers and the document of an answer that grants what was asked for."""
        while True:
            line = http.client.HTTPConnection(self.address, timeout=60)
            line.request(method, path, body, self.headers | (headers or {}))
            answer = line.getresponse()
            text = answer.read()
            line.close()
            if answer.status != 429:
                break
            # Agents may call so many times a second.
            time.sleep(int(answer.headers["Retry-After"]))
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path} was answered with {answer.status}: {text[:500]}")
        return answer.headers, json.loads(text) if text else None

    def get(self, path):
        return self.call("GET", "/api/v1" + path)[1]

    def post(self, path, body):
        return self.call("POST", "/api/v1" + path, json.dumps(body), JSON)[1]


class Agent(Caller):
    """An agent, enrolled."""

    def __init__(self, address, token, hostname):
        super().__init__(address)
        enrolled = self.form("agent_enroll", {"token": token, "hostname": hostname})
        self.id = enrolled["agent_uuid"]
        self.headers = {
            "X-Agent-UUID": self.id,
            "X-Agent-Token": enrolled["agent_token"],
            "X-Agent-Version": "2.0.0",
            "X-Agent-OS": "windows",
            "X-Agent-Arch": "amd64",
        }

    def form(self, script, fields):
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode(fields)
        return self.call("POST", f"{AGENTS}{script}.php", body, kind)[1]

    def send(self, script, document):
        return self.call("POST", f"{AGENTS}{script}.php", json.dumps(document), JSON)[1]

    def ask(self, script):
        return self.call("GET", f"{AGENTS}{script}.php")[1]

    def answer_commands(self, results):
        """Reports what `results` says for each type of command that waits, and fails the others."""
        while commands := self.ask("agent_poll_pending_commands")["commands"]:
            for command in commands:
                report = {"command_id": command["command_id"]}
                if command["type"] in results:
                    report["result"] = results[command["type"]]
                    self.send("agent_report_browse", report)
                else:
                    report |= {"status": "failed", "result_message": "not in this play"}
                    self.send("agent_complete_command", report)

    def run(self, status):
        """Takes the run that waits and ends it, each of its VMs with a point."""
        run = self.ask("agent_next_run")["run"]
        about = {"run_id": run["run_id"], "agent_version": "2.0.0"}
        self.send("agent_update_run", about | {"status": "running", "started_at": moment(-1)})
        event = {"type": "info", "level": "info", "message_id": "BACKUP_STARTING"}
        event["params_json"] = {"engine": run["engine"]}
        self.send("agent_push_events", about | {"events": [event], "logs": [{"level": "info", "message": "a line"}]})
        progress = {"progress_pct": 42.5, "bytes_processed": 5, "bytes_total": 50, "current_item": "VM 1/3: web"}
        self.send("agent_update_run", about | progress)
        end = about | {"status": status, "finished_at": moment()}
        if status == "failed":
            end["error_summary"] = "the repository cannot be reached"
        elif run["engine"] == "hyperv":
            end["hyperv_results"] = [self.result(run, vm) for vm in run["hyperv_vms"]]
        else:
            end["manifest_id"] = "f" + run["run_id"].replace("-", "")[:31]
        self.send("agent_update_run", end)

    def run_oddly(self):
        """Takes the run that waits and tells what no agent should, as far as it is taken; it goes on."""
        about = {"run_id": self.ask("agent_next_run")["run"]["run_id"]}
        nested = json.loads('{"a":' * 100 + "1" + "}" * 100)
        begun, ended = "+292277026596-12-04T15:30:07Z", "-9999-01-01T00:00:00Z"
        for odd in [
            {"status": "running", "started_at": begun, "finished_at": ended},
            {"progress_pct": 1e308, "bytes_processed": -1, "bytes_total": 1 << 70, "eta_seconds": "9" * 30},
            {"current_item": "\u202e\u0000" * 5000, "stats_json": nested, "log_excerpt": "x" * 100_000},
            {"hyperv_results": [5, None, {"vm_id": -1}, {"vm_id": 1 << 70}], "disk_manifests_json": {"D:\\": 5}},
        ]:
            self.send("agent_update_run", about | odd)
        events = [{"type": "t" * 99, "level": "l" * 99, "message_id": "m" * 999, "params_json": nested}]
        self.send("agent_push_events", about | {"events": events, "logs": [{"message": "\u0007" * 999}]})
        self.send("agent_push_agent_events", {"events": [{"code": "c" * 999, "ts": ended, "level": 5}]})
        volumes = [{"path": "\u0000", "size_bytes": -1, "label": 5}, {"path": "x" * 99_999, "size_bytes": 1 << 70}]
        self.send("agent_report_volumes", {"volumes": volumes})

    @staticmethod
    def result(run, vm):
        name, manifest = vm["vm_name"], run["run_id"].replace("-", "")[-24:]
        disk = f"D:\\VMs\\{name}.vhdx"
        return {
            "vm_id": vm["vm_id"], "vm_name": name, "backup_type": "Full", "checkpoint_id": f"C-{manifest}",
            "rct_ids": {disk: "rctX:1"}, "disk_manifests": {disk: f"{manifest}{vm['vm_id']:08x}"},
            "total_bytes": 1 << 33, "changed_bytes": 1 << 20, "consistency_level": "Crash", "duration_seconds": 7,
            "warnings": ["the guest could not be quiesced"],
        }


def vms():
    names = ["web", "db", "test-old"]
    return {
        "vms": [
            {
                "id": f"5F3B0000-0000-4000-8000-00000000000{number}", "name": name, "state": "Running", "generation": 2,
                "cpu_count": 4, "memory_mb": 8192, "rct_enabled": True,
            }
            for number, name in enumerate(names)
        ]
    }


def fill(address):
    """Fills a new server. Returns the headers with which each caller is let in, and the ids of each kind of thing.

    All things are of one tenant; callers whose names end with `other` are of another, which has nothing.
    """
    owner = Caller(address)
    about = {"name": "Ann", "email": "ann@example.com", "password": PASSWORD}
    headers, session = owner.call(
        "POST", "/api/v1/setup", json.dumps(about | {"tenant_name": "Acme", "time_zone": "Europe/Berlin"}), JSON
    )
    owner.headers = {"Cookie": headers["Set-Cookie"].split(";")[0], "X-CSRF-Token": session["csrf_token"]}
    acme = session["tenants"][0]["id"]
    other = owner.post("/tenants", {"name": "Other", "time_zone": "UTC"})["id"]
    callers = {"nobody": {}, "person": owner.headers}
    for tenant, suffix in [(None, ""), (acme, "-acme"), (other, "-other")]:
        for role in ["owner", "operator", "viewer"]:
            wish = {"name": f"{role}{suffix}", "role": role, "tenant_id": tenant}
            token = owner.post("/api-tokens", wish)["token"]
            callers[wish["name"]] = {"Authorization": f"Bearer {token}"}
    users = []
    for role in ["owner", "operator", "viewer"]:
        wish = {"email": f"{role}@example.com", "name": role, "role": role, "password": PASSWORD, "tenant_id": acme}
        users.append(owner.post("/users", wish)["id"])

    enrolment = owner.post("/enrolment-tokens", {"tenant_id": acme, "description": "all", "max_uses": 9})
    agents = [Agent(address, enrolment["token"], name) for name in ["hv01", "hv02"]]
    agent = agents[0]
    volume = {"path": "C:\\", "label": "System", "size_bytes": 1 << 38, "filesystem": "NTFS", "type": "fixed"}
    agent.send("agent_report_volumes", {"volumes": [volume]})
    event = {"source": "agent", "level": "info", "code": "AGENT_SERVICE_STARTED", "params_json": {"version": "2.0.0"}}
    agent.send("agent_push_agent_events", {"agent_version": "2.0.0", "events": [event]})
    owner.post(f"/hosts/{agent.id}/refresh", {})
    browse = owner.post(f"/hosts/{agent.id}/browse", {"path": "C:\\"})
    checkpoint = {"kind": "user", "name": "before the update", "created_at": "2026-02-01T10:00:00Z"}
    details = [
        {
            "id": vm["id"], "name": vm["name"], "disk_count": 1,
            "disks": [{"path": f"D:\\VMs\\{vm['name']}.vhdx", "size_bytes": 1 << 33}], "leftovers": [checkpoint],
        }
        for vm in vms()["vms"]
    ]
    agent.answer_commands({
        "list_hyperv_vms": vms(),
        "list_hyperv_vm_details": {"details": details},
        "browse_directory": {"path": "C:\\", "entries": [{"name": "Users", "path": "C:\\Users", "is_dir": True}]},
    })

    repositories = [
        owner.post("/repositories", wish)["id"]
        for wish in [
            {"tenant_id": acme, "name": "Bucket", "kind": "s3", "endpoint": "https://s3.example.net",
             "bucket": "backups", "region": "eu", "access_key": "AK", "secret_key": "a secret", "limit_bytes": 1 << 40,
             "verify_every_hours": 168, "verify_percent": 5},
            {"tenant_id": acme, "name": "Disk", "kind": "local", "path": "E:\\backups"},
        ]
    ]
    common = {"tenant_id": acme, "host_id": agent.id, "repository_id": repositories[0]}
    nightly = {"kind": "daily", "at": "22:00", "time_zone": "Europe/Berlin"}
    jobs = [
        owner.post("/jobs", common | wish)["id"]
        for wish in [
            {"name": "VMs", "engine": "hyperv", "vms": {"all": True, "exclude": ["test-*"]}, "schedule": nightly,
             "consistency": "application", "retention": {"daily": 14, "weekly": 8}, "objective_hours": 26},
            {"name": "Files", "engine": "kopia", "sources": ["C:\\Users"], "retention": {"keep_last": 7}},
        ]
    ]
    for job, status in [(0, "success"), (1, "success"), (0, "warning"), (1, "failed")]:
        owner.post(f"/jobs/{jobs[job]}/runs", {})
        agent.run(status)
    owner.post(f"/jobs/{jobs[1]}/runs", {})
    odd = {"name": "Odd", "engine": "disk_image", "sources": ["C:"], "retention": {"keep_last": 1}}
    jobs.append(owner.post("/jobs", common | odd | {"host_id": agents[1].id})["id"])
    owner.post(f"/jobs/{jobs[2]}/runs", {})
    agents[1].run_oddly()
    owner.post(f"/repositories/{repositories[0]}/operations", {"kind": "maintenance_full"})
    channels = [
        owner.post("/alarm-channels", wish)["id"]
        for wish in [
            {"tenant_id": acme, "name": "Hook", "kind": "webhook", "url": "https://hook.invalid/", "secret": "signs"},
            {"tenant_id": acme, "name": "Mail", "kind": "email", "addresses": ["ann@example.com"],
             "summary_at": "07:00", "quiet_hours": {"from": "20:00", "to": "06:00"}},
        ]
    ]

    def ids(path):
        return [item["id"] for item in owner.get(path)["items"]]

    begun = time.monotonic()
    while not (alarms := ids("/alarms")):
        if time.monotonic() - begun > ALARM_SECONDS_MAX:
            raise Refused("a run failed, and no alarm comes")
        time.sleep(0.5)

    found = {
        "tenants": [acme], "users": users, "hosts": [agent.id, agents[1].id], "repositories": repositories,
        "jobs": jobs, "alarm-channels": channels, "enrolment-tokens": [enrolment["id"]], "commands": [browse["id"]],
        "vms": ids("/vms"), "runs": ids("/runs"), "points": ids("/points"), "alarms": alarms,
    }
    return callers, found
