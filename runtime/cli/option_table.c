#include "cli/args.h"
#include "cli/option.h"

#define RUNS (1u << CMD_RUN)
#define LOADS (1u << CMD_RUN | 1u << CMD_CHECK | 1u << CMD_INSPECT)
#define FORMATS (1u << CMD_CHECK | 1u << CMD_INSPECT | 1u << CMD_MODEL | 1u << CMD_VERSION | 1u << CMD_DOCTOR)
#define ALL ((1u << CMD_MAX) - 1)

static const char *const run_examples[] = {"iotix-run scenarios/quickstart.lua",
                                           "run it; the broker is started and stopped with the run",
                                           "iotix-run fleet.lua -b mqtt://broker.test -n 10k -d 5m",
                                           "another broker, 10,000 devices, five minutes",
                                           "iotix-run fleet.lua --scale 0.1 --threshold 'publish_latency: p99 < 50ms'",
                                           "a tenth of every group, one threshold more",
                                           "iotix-run fleet.lua --summary-json summary.json --progress plain",
                                           "for a CI job",
                                           "iotix-run fleet.lua --virtual --for 7d --out ndjson=week.ndjson",
                                           "a week of messages into a file, in virtual time",
                                           0};
static const char *const check_examples[] = {"iotix-run check fleet.lua",
                                             "is it a valid scenario that fits this machine?",
                                             "iotix-run --check fleet.lua --format json", "the same for an editor", 0};
static const char *const inspect_examples[] = {"iotix-run inspect fleet.lua --origins",
                                               "the resolved plan, what it needs, and where each option came from", 0};
static const char *const model_examples[] = {"iotix-run model check models/*.json",
                                             "everything that is wrong with them, as file:line:column",
                                             "iotix-run model show valve@1.2",
                                             "a model with all that it extends",
                                             "iotix-run model list",
                                             "the models that a scenario here can name",
                                             0};
static const char *const new_examples[] = {"iotix-run new fleet --template mqtt", "writes fleet.lua", 0};
static const char *const doctor_examples[] = {"iotix-run doctor", "limits of this machine and how to raise them", 0};
static const char *const version_examples[] = {"iotix-run version --json", "for a bug report", 0};
static const char *const completion_examples[] = {
    "iotix-run completion bash > /etc/bash_completion.d/iotix-run",
    "for every user of this machine",
    "iotix-run completion zsh > ~/.zfunc/_iotix-run",
    "zsh",
    "iotix-run completion fish > ~/.config/fish/completions/iotix-run.fish",
    "fish",
    0};
static const char *const help_examples[] = {"iotix-run help run", "the options of a run", 0};

const struct command_spec command_specs[CMD_MAX] = {
    [CMD_RUN] = {"run", "[run] SCENARIO.lua [options] [-- args...]", "Run a scenario (the word `run` is optional)", 1,
                 run_examples},
    [CMD_CHECK] = {"check", "check SCENARIO.lua [options]", "Validate a scenario and its models; no network", 1,
                   check_examples},
    [CMD_INSPECT] = {"inspect", "inspect SCENARIO.lua [options]", "Print the resolved plan and what it needs, as JSON",
                     1, inspect_examples},
    [CMD_MODEL] = {"model", "model check FILE... | show MODEL | list [options]",
                   "Check device models, print one with what it extends, list them", ARGS_WORDS_MAX, model_examples},
    [CMD_NEW] = {"new", "new [NAME] [--template T] [--force]", "Write a new scenario from a template", 1, new_examples},
    [CMD_DOCTOR] = {"doctor", "doctor [--format text|json]", "Check the limits of this machine", 0, doctor_examples},
    [CMD_VERSION] = {"version", "version [--json]", "Print the version and those of the libraries", 0,
                     version_examples},
    [CMD_COMPLETION] = {"completion", "completion bash|zsh|fish", "Print a completion script for a shell", 1,
                        completion_examples},
    [CMD_HELP] = {"help", "help [COMMAND]", "Explain a command", 1, help_examples},
};

const char *const option_group_names[GROUP_MAX] = {
    [GROUP_LOAD] = "Load",       [GROUP_TARGET] = "Target",   [GROUP_VIRTUAL] = "Virtual time",
    [GROUP_SCRIPT] = "Script",   [GROUP_VERDICT] = "Verdict", [GROUP_OUTPUT] = "Output",
    [GROUP_DISPLAY] = "Display", [GROUP_COMMAND] = "Command",
};

const struct option_spec option_specs[OPT_MAX] = {
    [OPT_DEVICES] = {"devices", 'n', TYPE_COUNT, "N", 0, GROUP_LOAD, LOADS, 0, 0,
                     "Devices of the one group (10k, 1m); with several groups use --scale or --only"},
    [OPT_SCALE] = {"scale", 0, TYPE_FACTOR, "F", 0, GROUP_LOAD, LOADS, 0, 0,
                   "Multiply the device counts and launch rates of every group"},
    [OPT_ONLY] = {"only", 0, TYPE_TEXT, "GROUP", 0, GROUP_LOAD, LOADS, OPTION_REPEAT, 0,
                  "Run only this group (repeat for more)"},
    [OPT_DURATION] = {"duration", 'd', TYPE_DURATION, "D", 0, GROUP_LOAD, LOADS, 0, 0,
                      "How long to run: 30s, 5m, 1h30m"},
    [OPT_SHARDS] = {"shards", 0, TYPE_INT, "N", 0, GROUP_LOAD, LOADS, OPTION_SCENARIO,
                    "by devices, descriptors and cores", "Processes that hold the devices"},
    [OPT_PARTITION] = {"partition", 0, TYPE_PARTITION, "I/N", 0, GROUP_LOAD, LOADS, 0, 0,
                       "Run only the I-th of N parts of the devices (1/4 to 4/4)"},
    [OPT_SEED] = {"seed", 0, TYPE_SEED, "N", 0, GROUP_LOAD, LOADS, 0, "random",
                  "Seed of every generated value; the summary prints it"},
    [OPT_STOP_TIMEOUT] = {"stop-timeout", 0, TYPE_DURATION, "D", 0, GROUP_LOAD, LOADS, OPTION_SCENARIO, "30s",
                          "How long devices may take to finish at the end"},
    [OPT_BROKER] =
        {"broker", 'b', TYPE_URL, "URL", 0, GROUP_TARGET, LOADS, 0, 0,
         "mqtt://host:1883, or `embedded` for one that lives as long as the run. Pass passwords by IOTIX_BROKER"},
    [OPT_VIRTUAL] =
        {"virtual", 0, TYPE_BOOL, 0, 0, GROUP_VIRTUAL, LOADS, OPTION_ONLY_FLAG, "off",
         "Run in virtual time, as fast as the CPU allows, without a network: what devices publish goes into "
         "files"},
    [OPT_FROM] = {"from", 0, TYPE_TEXT, "TIME", 0, GROUP_VIRTUAL, LOADS, OPTION_ONLY_FLAG, "now less --for",
                  "Time at which the virtual run begins: 2026-01-31 or 2026-01-31T12:00:00Z (UTC)"},
    [OPT_FOR] = {"for", 0, TYPE_DURATION, "D", 0, GROUP_VIRTUAL, LOADS, OPTION_ONLY_FLAG, "the scenario's duration",
                 "How much virtual time to run: 1h, 7d"},
    [OPT_OUT] = {"out", 'o', TYPE_TEXT, "FORMAT=FILE", 0, GROUP_VIRTUAL, LOADS, OPTION_ONLY_FLAG | OPTION_REPEAT, 0,
                 "Write the messages of a virtual run as ndjson=FILE, csv=FILE or influx=FILE; `-` is stdout (repeat)"},
    [OPT_PARAM] = {"param", 'p', TYPE_KEY_VALUE, "K=V", 0, GROUP_SCRIPT, LOADS, OPTION_REPEAT | OPTION_MERGE, 0,
                   "Set a parameter that the scenario declares (repeat)"},
    [OPT_ENV] = {"env", 'e', TYPE_KEY_VALUE, "K=V", 0, GROUP_SCRIPT, LOADS, OPTION_REPEAT | OPTION_MERGE, 0,
                 "What iotix.env(K) returns, before the environment (repeat)"},
    [OPT_MODEL_DIR] = {"model-dir", 0, TYPE_TEXT, "DIR", 0, GROUP_SCRIPT, LOADS | 1u << CMD_MODEL, OPTION_REPEAT, 0,
                       "Look for models here after the scenario's directory (repeat)"},
    [OPT_PLUGIN] = {"plugin", 0, TYPE_TEXT, "FILE", 0, GROUP_SCRIPT, LOADS, OPTION_REPEAT, 0,
                    "Load a protocol plugin, a shared object (repeat)"},
    [OPT_SECRETS] = {"secrets", 0, TYPE_TEXT, "FILE", 0, GROUP_SCRIPT, LOADS, 0, 0,
                     "Passwords that models refer to (passwordRef): NAME=VALUE lines or a JSON object. Without it, or "
                     "for names that it does not have: IOTIX_SECRET_NAME"},
    [OPT_INSECURE_SECRETS] = {"insecure-secrets", 0, TYPE_BOOL, 0, 0, GROUP_SCRIPT, LOADS, 0, "off",
                              "Take a secrets file that others can read"},
    [OPT_WATCH] = {"watch", 0, TYPE_BOOL, 0, 0, GROUP_SCRIPT, RUNS, 0, "off",
                   "Reload models and behaviour files when they change on disk (SIGHUP does it once)"},
    [OPT_JIT] = {"jit", 0, TYPE_BOOL, 0, 0, GROUP_SCRIPT, LOADS, 0, "off",
                 "Compile the scenario's Lua. Only for scenarios you trust: an endless loop costs its shard"},
    [OPT_THRESHOLD] = {"threshold", 0, TYPE_THRESHOLD, "'METRIC: EXPR'", 0, GROUP_VERDICT, LOADS, OPTION_REPEAT, 0,
                       "Add a threshold: 'publish_latency: p95 < 200ms' (repeat)"},
    [OPT_NO_THRESHOLDS] = {"no-thresholds", 0, TYPE_BOOL, 0, 0, GROUP_VERDICT, LOADS, 0, "off",
                           "Ignore the scenario's thresholds"},
    [OPT_EXIT_ZERO] = {"exit-zero", 0, TYPE_BOOL, 0, 0, GROUP_VERDICT, RUNS, 0, "off",
                       "Exit 0 after a run whose verdict failed (99, 108, 110, 111, 112)"},
    [OPT_SUMMARY] = {"summary", 0, TYPE_CHOICE, "HOW", "compact|full|none", GROUP_OUTPUT, RUNS, OPTION_SCENARIO,
                     "compact", "The summary at the end"},
    [OPT_SUMMARY_JSON] = {"summary-json", 0, TYPE_TEXT, "FILE", 0, GROUP_OUTPUT, RUNS, 0, 0,
                          "Write the whole result as JSON; `-` is stdout, the summary then goes to stderr"},
    [OPT_FORMAT] = {"format", 0, TYPE_CHOICE, "F", "text|json", GROUP_OUTPUT, FORMATS, OPTION_ONLY_FLAG, 0,
                    "Form of the result"},
    [OPT_ORIGINS] = {"origins", 0, TYPE_BOOL, 0, 0, GROUP_OUTPUT, 1u << CMD_INSPECT, OPTION_ONLY_FLAG, 0,
                     "Add where the value of each option came from"},
    [OPT_JSON] = {"json", 0, TYPE_BOOL, 0, 0, GROUP_OUTPUT, 1u << CMD_VERSION | 1u << CMD_MODEL, OPTION_ONLY_FLAG, 0,
                  "As --format json"},
    [OPT_PROGRESS] = {"progress", 0, TYPE_CHOICE, "HOW", "auto|tty|plain|json|none", GROUP_DISPLAY, RUNS,
                      OPTION_SCENARIO, "auto", "Progress on stderr: a live block, lines, NDJSON or nothing"},
    [OPT_PROGRESS_INTERVAL] = {"progress-interval", 0, TYPE_DURATION, "D", 0, GROUP_DISPLAY, RUNS, OPTION_SCENARIO,
                               "10s", "Time between lines of plain and json progress"},
    [OPT_LOG_FORMAT] = {"log-format", 0, TYPE_CHOICE, "F", "text|json", GROUP_DISPLAY, LOADS, 0, "text",
                        "Form of log lines"},
    [OPT_LOG_LEVEL] = {"log-level", 0, TYPE_CHOICE, "L", "error|warn|info|debug", GROUP_DISPLAY, LOADS, OPTION_SCENARIO,
                       "info", "How much to log"},
    [OPT_LOG_FILE] = {"log-file", 0, TYPE_TEXT, "FILE", 0, GROUP_DISPLAY, LOADS, 0, "stderr",
                      "Append log lines to this file instead of stderr"},
    [OPT_QUIET] = {"quiet", 'q', TYPE_BOOL, 0, 0, GROUP_DISPLAY, LOADS, 0, "off",
                   "No header, no progress, only errors in the log"},
    [OPT_VERBOSE] = {"verbose", 'v', TYPE_BOOL, 0, 0, GROUP_DISPLAY, LOADS, 0, "off", "As --log-level debug"},
    [OPT_NO_COLOR] = {"no-color", 0, TYPE_BOOL, 0, 0, GROUP_DISPLAY, ALL, 0, "off",
                      "No colours (also NO_COLOR, TERM=dumb)"},
    [OPT_CHECK] = {"check", 0, TYPE_BOOL, 0, 0, GROUP_COMMAND, RUNS | 1u << CMD_CHECK, OPTION_ONLY_FLAG, 0,
                   "As the command `check`"},
    [OPT_TEMPLATE] = {"template", 0, TYPE_CHOICE, "T", "minimal|mqtt|ramp|soak", GROUP_COMMAND, 1u << CMD_NEW,
                      OPTION_ONLY_FLAG, "minimal", "What to start from"},
    [OPT_FORCE] = {"force", 0, TYPE_BOOL, 0, 0, GROUP_COMMAND, 1u << CMD_NEW, OPTION_ONLY_FLAG, 0,
                   "Overwrite an existing file"},
    [OPT_HELP] = {"help", 'h', TYPE_BOOL, 0, 0, GROUP_COMMAND, ALL, OPTION_ONLY_FLAG, 0,
                  "This text; behind a scenario also its parameters"},
    [OPT_VERSION] = {"version", 'V', TYPE_BOOL, 0, 0, GROUP_COMMAND, ALL, OPTION_ONLY_FLAG, 0,
                     "As the command `version`"},
    [OPT_MARKDOWN] = {"markdown", 0, TYPE_BOOL, 0, 0, GROUP_COMMAND, 1u << CMD_HELP, OPTION_ONLY_FLAG | OPTION_HIDDEN,
                      0, "The reference page docs/reference/cli.md"},
};
