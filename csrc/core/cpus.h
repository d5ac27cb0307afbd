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

// Of "avx512", "avx2", "portable", those this CPU can run, best first.
std::vector<std::string> runnable_isas();
std::string cpu_name();

}  // namespace wayra
