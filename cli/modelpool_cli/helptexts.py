"""What `--help` says of the program and of each command: at most 80 columns."""

TOP = """\
LLM traffic on localhost: pools of providers behind one address, without a
cluster or beside one.

  modelpool run -f examples/quickstart   answers on 127.0.0.1:4891, needs no key
  OPENAI_API_KEY=... modelpool run       your own key, no manifests needed
  modelpool run -- python app.py         your program, with OPENAI_BASE_URL set
  modelpool check -f DIR                 what the operator would say about them
  modelpool top                          who serves, cools and comes back, live
  modelpool explain -f DIR --model chat  what would happen to a request, and why
  modelpool inject -f deploy.yaml        manifests with the sidecar in the pods
"""
RUN = """\
Runs the sidecar in this process with the manifests of a file or folder, and
follows their edits.

Without -f it makes a Provider and a pool for every model name from
OPENAI_API_KEY; OPENAI_BASE_URL, unless it is our own address, is taken as the
upstream then. What stands after -- is run with OPENAI_BASE_URL set; its exit
code is ours. One line tells of each request; Ctrl-C lets requests finish for a
second, a second Ctrl-C ends at once. With a program after -- Ctrl-C is the
program's own.
"""
CHECK = """\
Prints every problem as file:line: sentence, as the operator would report it;
else one line with what is there.
"""
INJECT = """\
Prints manifests with the sidecar in their pods, for kubectl apply; everything
else passes through as it is.

  modelpool inject -f deploy.yaml | kubectl apply -f -
  kubectl get deploy web -o yaml | modelpool inject -f - | kubectl apply -f -

Pods stand in Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet,
ReplicationController, Job, CronJob, and in Lists of these. The sidecar is the
first init container and goes on beside the app; OPENAI_BASE_URL leads the app
to it, unless a container sets it itself. It reads the ConfigMap
modelpool-config and the Secret modelpool-credentials of its namespace, which
the operator writes, and follows them. Injecting again replaces an older
sidecar, and changes nothing else. Warnings go to standard error. A pod with
the label modelpool.dev/inject: "false" is left out. The order of objects and
fields stays; comments are lost.
"""
EXPLAIN = """\
Tells what the sidecar would do with a request, without asking anybody: which
pool and by which name, which targets in which order, how often each is the
first choice, who is skipped and why, which limits it takes from, what falls
back on what, which deadlines count. It is the sidecar's own proxy that does
it, just started: nothing has failed, nothing is used up. A refusal is told the
same way, with what would be right, and ends with 1.

  modelpool explain -f DIR --model chat
  modelpool explain request.json -f DIR      the body, as a client sends it
  echo '{"model": "gpt-4o", ...}' | modelpool explain - -f DIR --stream
  modelpool explain -f DIR --model chat --header x-modelpool-target=backup
  modelpool explain -f DIR --model chat --operation /chat/completions
                                             a path that is wrong
"""
TRY = """\
Asks one question through the sidecar that runs here; prints the answer, and on
standard error why that target.
"""
ASK = """\
Sends small requests at an even pace through the sidecar that runs here, and
counts which target answered.
"""
FAKE_PROVIDER = """\
Plays an OpenAI-compatible provider on a loopback port. The script is a YAML
list of steps as in a Provider's spec.fake.script; the last one stays:

  - {requests: 3, firstToken: 200ms, tokensPerSecond: 30}
  - {for: 10s, status: 429}
  - {}
"""
TOP_VIEW = """\
Shows once a second what the sidecar that runs here does: who serves (> marks
the targets that are asked first), cools and why, is probed or ramps up, what
is left of the limits, what is in flight, what is closed, and what of the
newest edit is not in use. q or Ctrl-C ends it; j, k, space and b scroll. The
same in a browser: the status page, whose address modelpool run prints.

  modelpool top                    what modelpool run started on its usual port
  modelpool top --port 5000        what runs with --port 5000
  modelpool top --once             one frame, for a log or a message
  modelpool top --once -o json     the same as data
  kubectl port-forward POD 4893    in another terminal: then modelpool top shows
                                   the sidecar of that pod
"""
BREAK = """\
Lets a Fake provider of the running sidecar fail until it is mended. Only Fake
providers can be broken.
"""
MEND = "Lets a Fake provider play its script again."
EXIT_CODES = """\
exit codes: 0 done; 1 the answer is no (problems, a failed request, nothing
running); 2 wrong use
"""
