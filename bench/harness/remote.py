"""The comparison on a server that is far away: first backup, unchanged, restore, over a line that takes its time."""
import os
import shutil
from pathlib import Path

from . import BENCH
from .corpora import SIZES, make_corpus
from .measuring import MIB, measure, median, must, ratio, restored_is_right, say, settle
from .servers import Line, Server, line_throughput

PHASES = ["first", "unchanged", "restore"]
# Half a round trip.
DELAY_MS = 15
# What we promise: a measure, the phase, and how it may compare with restic in the same run; memory is in MiB.
TARGETS = [("time", "first", 0.5), ("time", "unchanged", 0.3), ("time", "restore", 0.5), ("requests", "first", 0.5),
           ("requests", "unchanged", 0.5), ("requests", "restore", 0.5), ("memory", None, 250)]
KEYS = {"time": "seconds", "CPU": "cpu_seconds", "requests": "requests", "bytes": "line_bytes",
        "memory": "memory_bytes"}
# A line that is busy for longer than this share of a phase may be what is measured.
BUSY_MAX = 0.6


def point(tool, store, line, settings):
    """Tells a program that was placed already where its repository is: behind the line."""
    if store == "swift":
        login = {"ST_AUTH": f"http://{line.address}/auth/v1.0", "ST_USER": settings["ST_USER"],
                 "ST_KEY": settings["ST_KEY"]}
        place = {"strongroom": "swift://strongroom/vault", "restic": "swift:restic:/repository"}
    else:
        keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]
        login = {key: settings[key] for key in keys}
        login |= {"AWS_ENDPOINT_URL": f"http://{line.address}", "AWS_DEFAULT_REGION": settings["AWS_REGION"]}
        bucket = settings["BUCKET"]
        place = {"strongroom": f"s3://{bucket}/strongroom", "restic": f"s3:http://{line.address}/{bucket}/restic"}
    tool.environment |= login
    tool.vault = place[tool.name]


def run_phase(phase, tools, lines, corpus, results):
    for tool in tools:
        log, line = tool.scratch / "log", lines[tool.name]
        if phase == "first":
            must(tool.command("init", corpus), tool.environment, log)
        if phase == "restore":
            tool.clear_target()
        settle()
        before = line.counted()
        result = measure(tool.command("restore" if phase == "restore" else "backup", corpus), tool.environment, log)
        after = line.counted()
        methods = {name: count - before["requests"].get(name, 0) for name, count in after["requests"].items()}
        result["methods"] = {name: count for name, count in methods.items() if count}
        result["requests"] = sum(methods.values())
        for key in ("bytes_up", "bytes_down", "connections"):
            result[key] = after[key] - before[key]
        result["line_bytes"] = result["bytes_up"] + result["bytes_down"]
        result["line_busy"] = (after["cpu_seconds"] - before["cpu_seconds"]) / result["seconds"]
        if result["exit"] != 0:
            result["problem"] = f"exit {result['exit']}, see {log}"
        elif phase == "restore" and not restored_is_right(tool, corpus):
            result["problem"] = "the restored tree differs"
        results.setdefault(tool.name, {})[phase] = result
        say(f"  {phase}, {tool.name}: {result['seconds']:.2f} s, {result['requests']} requests "
            f"{result.get('problem', '')}")


def run(options, tools, bench):
    corpus = make_corpus(options.corpus, options.size, bench)
    size = SIZES[options.size]["mixed"]["usr"]
    throughput = line_throughput()
    say(f"the line passes on {throughput['delayed']:.0f} MB/s ({throughput['at_once']:.0f} MB/s without its delay)")
    runs = []
    for number in range(options.runs):
        scratch = Path(options.scratch or BENCH / "corpora") / f"run-{os.getpid()}"
        scratch.mkdir(parents=True)
        say(f"{options.store}, run {number + 1} of {options.runs}, in {scratch}")
        server = Server(options.store, size)
        lines = {}
        one = {"line_megabytes_per_second": throughput, "tools": {}}
        try:
            for tool in tools:
                lines[tool.name] = Line(server, DELAY_MS)
                tool.place(scratch)
                point(tool, options.store, lines[tool.name], server.settings)
            # Once, so that nobody is the first to read it from the disk.
            measure(["bash", "-c", f"tar -C '{corpus}' -cf - . | cat"])
            for position, phase in enumerate(PHASES):
                order = tools if (position + number) % 2 == 0 else tools[::-1]
                run_phase(phase, order, lines, corpus, one["tools"])
        finally:
            for line in lines.values():
                line.stop()
            server.stop()
        runs.append(one)
        if options.keep or problems(one):
            say(f"kept {scratch}")
        else:
            shutil.rmtree(scratch)
    return runs


def problems(one):
    return [result["problem"] for tool in one["tools"].values() for result in tool.values() if "problem" in result]


def figure(runs, tool, phase, key):
    return median([one["tools"][tool][phase][key] for one in runs])


def table(runs, tools):
    compared = [what for what in KEYS]
    lines = ["| phase | program | seconds | CPU s | memory MiB | requests | of them | connections | MB sent | MB received "
             f"| against restic: {', '.join(compared)} |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    for phase in PHASES:
        for tool in tools:
            get = lambda key: figure(runs, tool.name, phase, key)
            first = runs[0]["tools"][tool.name][phase]
            methods = ", ".join(f"{count} {name}" for name, count in sorted(first["methods"].items()))
            against = "–"
            if any(other.name == "restic" for other in tools) and tool.name != "restic":
                against = ", ".join(ratio(get(KEYS[what]), figure(runs, "restic", phase, KEYS[what]))
                                    for what in compared)
            problem = "".join(f" **{one['tools'][tool.name][phase]['problem']}**" for one in runs
                              if "problem" in one["tools"][tool.name][phase])
            lines.append(
                f"| {phase} | {tool.name}{problem} | {get('seconds'):.2f} | {get('cpu_seconds'):.2f} "
                f"| {get('memory_bytes') / MIB:.0f} | {get('requests'):.0f} | {methods} | {get('connections'):.0f} "
                f"| {get('bytes_up') / 1e6:.1f} | {get('bytes_down') / 1e6:.1f} | {against} |")
    return "\n".join(lines)


def judge(runs, tools):
    """Each target with what was reached. A phase that went wrong misses its targets."""
    if not {"strongroom", "restic"} <= {tool.name for tool in tools}:
        return None
    verdicts = []
    for what, phase, limit in TARGETS:
        phases = PHASES if phase is None else [phase]
        if what == "memory":
            reached = max(one["tools"]["strongroom"][each]["memory_bytes"] for one in runs for each in PHASES) / MIB
            text, shown = f"peak memory ≤ {limit} MiB", f"{reached:.0f}"
        else:
            base = figure(runs, "restic", phase, KEYS[what])
            reached = figure(runs, "strongroom", phase, KEYS[what]) / base if base else float("inf")
            text, shown = f"{phase}: {what} ≤ {limit} × restic", f"{reached:.2f}"
        sound = not any("problem" in one["tools"][name][each] for one in runs for name in ("strongroom", "restic")
                        for each in phases)
        verdicts.append((text, shown, sound and reached <= limit))
    return verdicts


def remarks(runs):
    """What to know of the line before the figures are believed."""
    speed = runs[0]["line_megabytes_per_second"]
    lines = [f"A round trip takes {2 * DELAY_MS} ms, a new connection one more; the line itself passes on "
             f"{speed['delayed']:.0f} MB/s ({speed['at_once']:.0f} MB/s without its delay)."]
    for one in runs:
        for name, phases in one["tools"].items():
            lines += [f"**The line was busy for {result['line_busy']:.0%} of {phase}, {name}: it may be what was measured.**"
                      for phase, result in phases.items() if result["line_busy"] > BUSY_MAX]
    return lines
