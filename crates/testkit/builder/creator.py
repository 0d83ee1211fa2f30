#!/usr/bin/python3.11
"""What the lifecycle's `creator` does, as far as a platform sees it (buildpacks platform interface 0.10 to 0.13): its flags,
environment, exit codes and labels; real buildpacks, run as the builder's user; the image goes to the engine by its socket."""
import glob, http.client, io, json, os, socket, subprocess, sys, tarfile, tempfile, tomllib
from urllib.parse import quote

flags = {"app": "/workspace", "layers": "/layers", "platform": "/platform", "run-image": "", "uid": "0", "gid": "0",
         "log-level": "info", "cache-dir": "", "report": "", "daemon": False, "skip-restore": False}
image, arguments = None, sys.argv[1:]
while arguments:
    word = arguments.pop(0)
    if not word.startswith("-"):
        image = word
        continue
    name, given, value = word.lstrip("-").partition("=")
    if name not in flags:
        sys.exit(print(f"ERROR: flag provided but not defined: -{name}", file=sys.stderr) or 3)
    flags[name] = True if isinstance(flags[name], bool) else (value if given else arguments.pop(0))
if os.environ.get("CNB_PLATFORM_API") not in ("0.10", "0.11", "0.12", "0.13"):
    sys.exit(11)
if not image or not flags["daemon"]:
    sys.exit(3)

def run(program, *more, **env):
    """A buildpack's program: as the builder's user, with the variables of the platform."""
    own = {os.path.basename(file): open(file).read() for file in glob.glob(flags["platform"] + "/env/*")}
    env = {"PATH": os.environ["PATH"], "HOME": "/tmp", "CNB_PLATFORM_DIR": flags["platform"], **own, **env}
    return subprocess.run([program, *more], cwd=flags["app"], env=env,
                          user=int(flags["uid"]), group=int(flags["gid"]), extra_groups=[]).returncode

print("===> DETECTING", flush=True)
plan = tempfile.mkdtemp() + "/plan.toml"
os.chmod(os.path.dirname(plan), 0o777)
chosen = None
for buildpack in sorted(glob.glob("/cnb/buildpacks/*/*")):
    code = run(buildpack + "/bin/detect", flags["platform"], plan, CNB_BUILDPACK_DIR=buildpack, CNB_BUILD_PLAN_PATH=plan)
    if code == 0:
        chosen = buildpack
        break
    if code != 100:
        sys.exit(21)
if not chosen:
    sys.exit(print("ERROR: No buildpack groups passed detection.", file=sys.stderr) or 20)

print("===> BUILDING", flush=True)
name, version = chosen.split("/")[-2:]
layers = f"{flags['layers']}/{name}"
os.makedirs(layers)
os.chown(layers, int(flags["uid"]), int(flags["gid"]))
if run(chosen + "/bin/build", layers, flags["platform"], plan, CNB_BUILDPACK_DIR=chosen, CNB_LAYERS_DIR=layers):
    sys.exit(51)

print("===> EXPORTING", flush=True)
launch = tomllib.load(open(layers + "/launch.toml", "rb"))
labels = {"io.buildpacks.build.metadata": json.dumps({"buildpacks": [{"id": name, "version": version}]}),
          "io.buildpacks.lifecycle.metadata": json.dumps({"runImage": {"reference": flags["run-image"]}}),
          "io.buildpacks.project.metadata": "{}"}
recipe = (f"FROM {flags['run-image']}\nCOPY app {flags['app']}\nWORKDIR {flags['app']}\n"
          f"ENTRYPOINT {json.dumps(launch['processes'][0]['command'])}\n").encode()
context = io.BytesIO()
with tarfile.open(fileobj=context, mode="w") as tar:
    tar.add(flags["app"], "app")
    header = tarfile.TarInfo("Dockerfile")
    header.size = len(recipe)
    tar.addfile(header, io.BytesIO(recipe))

class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")

engine = Engine("engine", timeout=600)
query = f"t={quote(image, safe='')}&labels={quote(json.dumps(labels))}"
engine.request("POST", f"/v1.41/build?rm=1&{query}", context.getvalue(), {"Content-Type": "application/x-tar"})
answer = engine.getresponse()
text = answer.read()
if answer.status != 200 or b"errorDetail" in text:
    sys.exit(print("ERROR: failed to export:", text[-300:], file=sys.stderr) or 62)
print("*** Images:", image, flush=True)
