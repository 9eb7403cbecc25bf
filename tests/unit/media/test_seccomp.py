"""The filter of system calls, read by a machine of our own as the kernel reads it."""

import platform
import re
import struct
from pathlib import Path

import pytest

from pipeline.errors import WorldError
from pipeline.media.sandbox import seccomp

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45
THREAD = 0x003D0F00  # the flags of a thread as glibc makes one
FORK = 0x01200011
#: What decoders do: read, write, mmap, mprotect, futex, openat, exit_group, rt_sigaction, sched_getaffinity, execve.
HARMLESS = {
    "x86_64": (0, 1, 9, 10, 202, 257, 231, 13, 204, 59),
    "aarch64": (63, 64, 222, 226, 98, 56, 94, 134, 123, 221),
}
CLONE, PRCTL = {"x86_64": 56, "aarch64": 220}, {"x86_64": 157, "aarch64": 167}
MACHINES = pytest.mark.parametrize("machine", ARCHITECTURES)


def verdict(program: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """What a filter says to a call, by the rules of classic BPF."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, argument, 0, 0, 0, 0, 0)
    instructions = list(struct.iter_unpack("<HBBI", program))
    place, accumulator = 0, 0
    while True:
        code, true, false, operand = instructions[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x06:
                return int(operand)
            case _:
                holds = {EQUAL: accumulator == operand, AT_LEAST: accumulator >= operand}
                holds[ANY_BIT] = bool(accumulator & operand)
                place += true if holds[code] else false


def asked(machine: str, number: int, argument: int = 0, *, may_fork: bool = False) -> int:
    return verdict(seccomp.program(machine, may_fork=may_fork), ARCHITECTURES[machine], number, argument)


@MACHINES
def test_what_decoders_do_is_allowed(machine: str) -> None:
    assert {asked(machine, number) for number in HARMLESS[machine]} == {ALLOW}


def test_the_dangerous_calls_are_known() -> None:
    dangerous = {"socket", "socketpair", "ptrace", "mount", "umount2", "unshare", "setns", "bpf", "keyctl"}
    dangerous |= {"userfaultfd", "perf_event_open", "process_vm_readv", "process_vm_writev", "kexec_load"}
    dangerous |= {"init_module", "finit_module", "setsid", "setpgid", "open_by_handle_at", "memfd_create"}
    dangerous |= {"fchmod", "fchmodat", "fchown", "fchownat", "utimensat", "setxattr", "fsetxattr", "removexattr"}
    assert dangerous <= set(seccomp._REFUSED)


@MACHINES
@pytest.mark.parametrize("name", seccomp._REFUSED)
def test_what_no_decoder_does_is_refused(machine: str, name: str) -> None:
    number = seccomp._REFUSED[name][machine == "aarch64"]
    assert asked(machine, number) == asked(machine, number, may_fork=True) == EPERM


@MACHINES
def test_threads_can_be_made_and_processes_only_by_those_who_may(machine: str) -> None:
    clone = CLONE[machine]
    assert asked(machine, clone, THREAD) == asked(machine, clone, THREAD, may_fork=True) == ALLOW
    assert (asked(machine, clone, FORK), asked(machine, clone, FORK, may_fork=True)) == (EPERM, ALLOW)


@MACHINES
@pytest.mark.parametrize("namespace", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
def test_no_clone_makes_a_namespace(machine: str, namespace: int) -> None:
    for flags in (THREAD | namespace, FORK | namespace):
        assert asked(machine, CLONE[machine], flags, may_fork=True) == EPERM


@MACHINES
def test_a_process_cannot_part_from_its_parent(machine: str) -> None:
    assert asked(machine, PRCTL[machine], 1) == EPERM  # PR_SET_PDEATHSIG
    assert asked(machine, PRCTL[machine], 15) == ALLOW  # PR_SET_NAME


@MACHINES
def test_new_calls_and_those_of_other_architectures_are_not_served(machine: str) -> None:
    program = seccomp.program(machine, may_fork=True)
    (other,) = set(ARCHITECTURES.values()) - {ARCHITECTURES[machine]}
    for architecture in (other, 0x40000003):  # i386
        assert verdict(program, architecture, 0) == KILL
    for number in (425, 428, 435, 447, 462, 0x40000000 | 41):  # io_uring_setup, open_tree, clone3 ..., socket of x32
        assert asked(machine, number) == ENOSYS


def test_the_numbers_are_those_of_the_kernel_headers() -> None:
    machine = platform.machine()
    headers = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h")]
    if machine not in ARCHITECTURES or not headers[machine == "aarch64"].exists():
        pytest.skip("no headers of the kernel here")
    text = headers[machine == "aarch64"].read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    for name, numbers in seccomp._REFUSED.items():
        assert known[name] == numbers[machine == "aarch64"], name
    assert known["clone"] == CLONE[machine]
    assert known["prctl"] == PRCTL[machine]


def test_a_machine_without_a_filter_is_refused() -> None:
    with pytest.raises(WorldError, match="riscv64"):
        seccomp.program("riscv64", may_fork=False)
