// Compiled for the baseline CPU only: it decides what else may run.
#include "core/cpus.h"

#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace wayra {
namespace {
std::string first_line(const std::string& path) {
  std::ifstream f(path);
  std::string line;
  std::getline(f, line);
  return line;
}

// Path of this process in the unified hierarchy ("0::/path").
std::string cgroup_path() {
  std::ifstream f("/proc/self/cgroup");
  for (std::string line; std::getline(f, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return {};
}

double quota_of(const std::string& folder) {
  std::istringstream v2(first_line(folder + "/cpu.max"));
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) return std::atof(quota.c_str()) / period;
  return 0;
}

// The tightest quota from this process's group up to the root (v2), or the v1 quota.
double cgroup_cpus() {
  double tightest = 0;
  const auto consider = [&](double q) {
    if (q > 0 && (tightest == 0 || q < tightest)) tightest = q;
  };
  for (std::string path = cgroup_path(); !path.empty();) {
    consider(quota_of("/sys/fs/cgroup" + path));
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos || path == "/") break;
    path = slash == 0 ? "/" : path.substr(0, slash);
  }
  consider(quota_of("/sys/fs/cgroup"));
  const double quota = std::atof(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").c_str());
  const double period = std::atof(first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us").c_str());
  if (quota > 0 && period > 0) consider(quota / period);
  return tightest;
}

// Hardware threads that share a core count once: they share its multipliers too.
int cores_in(const cpu_set_t& set) {
  int cores = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    const std::string siblings =
        first_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    const int first = siblings.empty() ? cpu : std::atoi(siblings.c_str());
    if (first == cpu || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET(first, &set)) ++cores;
  }
  return std::max(cores, 1);
}
}  // namespace

int current_cpu() { return sched_getcpu(); }

bool leave_cpus(const std::vector<int>& cpus) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  cpu_set_t others = allowed;
  for (int cpu : cpus) {
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, &others);
  }
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return false;
  sched_setaffinity(0, sizeof allowed, &allowed);
  return true;
}

CpuCount count_cpus() {
  CpuCount c{1, 0, 1, {}};
  int cores = 1;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    c.affinity = CPU_COUNT(&set);
    cores = cores_in(set);
  } else {
    c.affinity = cores = static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  }
  c.cgroup = cgroup_cpus();
  c.threads = cores;
  std::ostringstream why;
  why << c.affinity << " CPUs in the affinity mask, " << cores << " cores";
  if (c.cgroup > 0) {
    c.threads = std::max(1, std::min(cores, static_cast<int>(std::ceil(c.cgroup))));
    why << ", control group quota of " << c.cgroup << " CPUs";
  } else {
    why << ", no control group quota";
  }
  c.reason = why.str();
  return c;
}

std::vector<std::string> runnable_isas() {
  std::vector<std::string> isas;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // What CMakeLists.txt compiles the libraries with; a virtual machine may hide any of them.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    if (__builtin_cpu_supports("avx512bf16")) isas.push_back("avx512_bf16");
    isas.push_back("avx512");
  }
  if (avx2) isas.push_back("avx2");
#endif
  isas.push_back("portable");
  return isas;
}

bool multiplies_twice_a_cycle() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx) return true;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return true;
  const unsigned family = ((eax >> 8) & 15) + ((eax >> 20) & 255);
  return family != 25;
#else
  return false;
#endif
}

std::string cpu_name() {
  std::ifstream f("/proc/cpuinfo");
  for (std::string line; std::getline(f, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace wayra
