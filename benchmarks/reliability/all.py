"""Every reliability script, one after the other; exits with 1 when one of them does.

python benchmarks/reliability/all.py --write-docs
"""

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = ("overload", "disconnects", "slow_sockets", "kill", "hostile", "sigterm", "soak")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=30, help="of the soak")
    parser.add_argument("--write-docs", action="store_true", help="put each result into reliability.md")
    args = parser.parse_args()
    failed: list[str] = []
    for name in args.only:
        command = [sys.executable, str(Path(__file__).parent / f"{name}.py")]
        command += ["--minutes", f"{args.minutes:g}"] if name == "soak" else []
        command += ["--write-docs"] if args.write_docs else []
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    print(
        f"{len(args.only) - len(failed)} of {len(args.only)} hold" + (f"; not: {', '.join(failed)}" if failed else "")
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
