// How many threads this process may really use, and which instruction sets the CPU has.
#pragma once
#include <string>
#include <vector>

namespace wayra {

struct CpuCount {
  int affinity;   // CPUs in the affinity mask
  double cgroup;  // CPU quota of the control group, 0 when unlimited
  int threads;    // the number to use
  std::string reason;
};
CpuCount count_cpus();

// The CPU that the calling thread runs on, -1 when the system does not say.
int current_cpu();
// Sends the calling thread from where it is to an allowed CPU that is none of `cpus`; it stays free to go anywhere
// allowed afterwards. False when there is none.
bool leave_cpus(const std::vector<int>& cpus);

// Of "avx512", "avx2", "portable", those this CPU can run, best first.
std::vector<std::string> runnable_isas();
std::string cpu_name();

// Whether a core starts two products of 64 bytes a cycle, so that loads limit them: with AVX-512 all but AMD's family
// 25 (Zen 4), which starts one.
bool multiplies_twice_a_cycle();

}  // namespace wayra
