// The Python face of the native core. It checks lengths, releases the GIL and holds no logic of its own.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "core/cpus.h"
#include "core/executor.h"
#include "core/formats.h"
#include "core/library.h"
#include "core/memory.h"
#include "core/probe.h"
#include "core/threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {
using wayra::Executor;
using wayra::Format;
using wayra::Memory;

template <class T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Table = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Maybe = std::optional<Array<T>>;

void need(bool ok, const char* what) {
  if (!ok) throw std::invalid_argument(what);
}

const wayra::FormatInfo& info_of(int format) {
  const wayra::FormatInfo* info = wayra::format_info(static_cast<Format>(format));
  need(info != nullptr, "unknown weight format");
  return *info;
}

int64_t packed_bytes(int format, int64_t rows, int64_t cols) {
  need(rows > 0 && cols > 0 && cols % info_of(format).block_len == 0, "bad matrix shape");
  return wayra::packed_bytes(static_cast<Format>(format), rows, cols);
}

void pack(int format, int64_t rows, int64_t cols, Array<const uint8_t> raw, Maybe<const int32_t> row_order,
          Array<uint8_t> out, int threads) {
  const wayra::FormatInfo& info = info_of(format);
  need(static_cast<int64_t>(out.size()) == packed_bytes(format, rows, cols), "wrong size of the packed output");
  const int64_t raw_rows =
      static_cast<int64_t>(raw.size()) / (info.row_scale_bytes + cols / info.block_len * info.block_bytes);
  const int32_t* order = nullptr;
  if (row_order) {
    need(static_cast<int64_t>(row_order->size()) == rows, "row_order needs one entry a row");
    order = row_order->data();
    for (int64_t i = 0; i < rows; ++i)
      need(order[i] >= 0 && order[i] < raw_rows, "row_order points outside the tensor");
  } else {
    need(raw_rows >= rows, "the tensor has fewer rows than the matrix");
  }
  const int64_t panels = (rows + wayra::kLanes - 1) / wayra::kLanes;
  const uint8_t* src = raw.data();
  uint8_t* dst = out.data();
  nb::gil_scoped_release release;
  const int64_t chunk = std::max<int64_t>(1, panels / (4 * std::max(threads, 1)));
  wayra::Claims claims;
  wayra::run_on_threads(static_cast<int>(std::min<int64_t>(threads, panels)), [&] {
    int64_t from, to;
    while (claims.claim(panels, chunk, &from, &to)) {
      wayra::pack_panels(static_cast<Format>(format), rows, cols, src, order, from, to, dst);
    }
  });
}

// Memory for packed weights, shared by the models that point into it.
class Arena {
 public:
  Arena(size_t bytes, bool huge_pages) : memory_(std::make_shared<Memory>(bytes, huge_pages)) {}
  explicit Arena(Memory memory) : memory_(std::make_shared<Memory>(std::move(memory))) {}
  static Arena mapped(const std::string& path, uint64_t offset, size_t size) {
    need(offset % 64 == 0 && size > 0, "weights cannot be mapped from there");
    return Arena(Memory::map_file(path, offset, size));
  }
  size_t size() const { return memory_->size(); }
  const std::shared_ptr<Memory>& memory() const { return memory_; }

  nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>> view(size_t offset, size_t size) {
    need(offset <= memory_->size() && size <= memory_->size() - offset, "view outside the arena");
    auto* keep = new std::shared_ptr<Memory>(memory_);
    nb::capsule owner(keep, [](void* p) noexcept { delete static_cast<std::shared_ptr<Memory>*>(p); });
    return nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>(memory_->data() + offset, {size}, owner);
  }

  std::string read(const std::string& path, uint64_t offset, size_t size, size_t chunk, std::vector<uint64_t> hashes,
                   int threads) {
    need(size <= memory_->size() && chunk > 0, "the arena is too small");
    nb::gil_scoped_release release;
    return wayra::read_checked(path, offset, size, memory_->data(), chunk, hashes, threads);
  }
  std::string check(size_t chunk, std::vector<uint64_t> hashes, int threads) const {
    need(chunk > 0, "chunks hold at least a byte");
    nb::gil_scoped_release release;
    return memory_->check(chunk, hashes, threads);
  }

 private:
  std::shared_ptr<Memory> memory_;
};

// Arrays of SamplingBatch in its order of fields.
struct Sampling {
  Array<const float> temperature;
  Array<const int32_t> top_k;
  Array<const float> top_p, min_p;
  Array<const uint64_t> seeds, draws;
  Array<const float> repetition_penalty, presence_penalty, frequency_penalty;
  Array<const int32_t> history_starts, history_ids, history_counts;
  Array<const int32_t> bias_starts, bias_ids;
  Array<const float> bias_values;
  std::optional<Table<const uint32_t>> allowed;
};

// starts [rows + 1] must rise from 0 to the number of ids, and ids lie in the vocabulary.
void check_ragged(const Array<const int32_t>& starts, const Array<const int32_t>& ids, size_t values, size_t rows,
                  int vocab) {
  need(starts.size() == rows + 1 && ids.size() == values, "ragged arrays of sampling have the wrong lengths");
  need(starts.data()[0] == 0 && starts.data()[rows] == static_cast<int32_t>(ids.size()), "ragged starts are wrong");
  for (size_t r = 0; r < rows; ++r) need(starts.data()[r] <= starts.data()[r + 1], "ragged starts must not fall");
  for (size_t i = 0; i < ids.size(); ++i) {
    need(ids.data()[i] >= 0 && ids.data()[i] < vocab, "a token id of sampling is outside the vocabulary");
  }
}

class Model {
 public:
  Model(const std::string& library, int threads, std::vector<int> limits, std::vector<int> kv, const Arena& arena)
      : memory_(arena.memory()), vocab_(limits.at(2)) {
    const wayra::KvShape shape{kv.at(0), kv.at(1), kv.at(2), static_cast<wayra::KvType>(kv.at(3))};
    executor_ = std::make_unique<Executor>(wayra::load_kernels(library), threads,
                                           wayra::Limits{limits.at(0), limits.at(1), limits.at(2)}, shape);
  }

  int add_matrix(int format, int rows, int cols, size_t offset) {
    const auto bytes = static_cast<size_t>(packed_bytes(format, rows, cols));
    need(offset % 64 == 0 && offset <= memory_->size() && bytes <= memory_->size() - offset,
         "matrix outside the arena");
    return executor_->add_matrix({static_cast<Format>(format), rows, cols, 0, 0, memory_->data() + offset});
  }
  int add_vector(Array<const float> v) { return executor_->add_vector({v.data(), v.data() + v.size()}); }
  Executor& executor() { return *executor_; }

  // [threads][entries][work, wait], nanoseconds since start_profile.
  nb::ndarray<nb::numpy, int64_t, nb::ndim<3>> profile() const {
    const wayra::Profile& p = executor_->profile();
    const size_t cells = p.cells().size();
    need(cells > 0, "no profile was started");
    auto* out = new int64_t[cells * 2];
    for (size_t i = 0; i < cells; ++i) {
      out[2 * i] = p.cells()[i].work_ns;
      out[2 * i + 1] = p.cells()[i].wait_ns;
    }
    nb::capsule owner(out, [](void* q) noexcept { delete[] static_cast<int64_t*>(q); });
    return {out, {cells / p.entries(), p.entries(), 2}, owner};
  }

  bool settle(size_t max_bytes) {
    nb::gil_scoped_release release;
    return memory_->settle(max_bytes, executor_->threads());
  }

  void read_kv(Array<const int32_t> blocks, Table<uint8_t> out) const {
    check_kv(blocks.size(), out.shape(0), out.shape(1));
    nb::gil_scoped_release release;
    executor_->read_kv(blocks.data(), static_cast<int64_t>(blocks.size()), out.data());
  }
  void write_kv(Array<const int32_t> blocks, Table<const uint8_t> in) {
    check_kv(blocks.size(), in.shape(0), in.shape(1));
    nb::gil_scoped_release release;
    executor_->write_kv(blocks.data(), static_cast<int64_t>(blocks.size()), in.data());
  }

  void step(Array<const int32_t> token_ids, Array<const int32_t> positions, Array<const int32_t> query_starts,
            Array<const int32_t> kv_lens, Table<const int32_t> block_tables, Array<const int32_t> logit_rows,
            Maybe<const int32_t> targets, Maybe<float> target_logprobs, std::optional<Table<float>> logits,
            std::optional<Table<float>> hidden, const Sampling* sampling, Table<int32_t> top_ids,
            Table<float> top_logprobs, Array<int32_t> out_ids, Array<float> out_logprobs) {
    const size_t tokens = token_ids.size(), seqs = kv_lens.size(), rows = logit_rows.size();
    need(positions.size() == tokens && query_starts.size() == seqs + 1 && block_tables.shape(0) == seqs,
         "batch arrays disagree in length");
    wayra::SampleInput out{};
    if (targets) {
      need(targets->size() == rows && target_logprobs && target_logprobs->size() == rows, "targets need a row each");
      out.targets = targets->data();
      out.target_logprobs = target_logprobs->data();
    }
    if (logits) {
      need(logits->shape(0) == rows && logits->shape(1) == static_cast<size_t>(vocab_), "logits have the wrong shape");
      out.logits = logits->data();
    }
    if (hidden) {
      need(hidden->shape(0) == rows && static_cast<int>(hidden->shape(1)) == executor_->hidden_size(),
           "hidden has the wrong shape");
      out.hidden = hidden->data();
    }
    out.num_logprobs = static_cast<int32_t>(top_ids.shape(1));
    need(out.num_logprobs <= vocab_ && top_ids.shape(0) == rows && top_logprobs.shape(0) == rows &&
             top_logprobs.shape(1) == top_ids.shape(1),
         "top-k outputs have the wrong shape");
    out.top_ids = top_ids.data();
    out.top_logprobs = top_logprobs.data();
    if (sampling) {
      need(out_ids.size() == rows && out_logprobs.size() == rows, "sampled outputs need a row each");
      out.token_ids = out_ids.data();
      out.logprobs = out_logprobs.data();
      fill(*sampling, rows, out);
    }
    const wayra::StepInput in{token_ids.data(),
                              positions.data(),
                              query_starts.data(),
                              kv_lens.data(),
                              block_tables.data(),
                              logit_rows.data(),
                              static_cast<int32_t>(tokens),
                              static_cast<int32_t>(seqs),
                              static_cast<int32_t>(block_tables.shape(1)),
                              static_cast<int32_t>(rows)};
    nb::gil_scoped_release release;
    executor_->step(in, out);
  }

 private:
  void check_kv(size_t blocks, size_t rows, size_t bytes) const {
    need(rows == blocks && static_cast<int64_t>(bytes) == executor_->kv_bytes_per_block(),
         "KV bytes need one row a block, of kv_bytes_per_block");
  }

  void fill(const Sampling& s, size_t rows, wayra::SampleInput& out) const {
    for (size_t n :
         {s.temperature.size(), s.top_k.size(), s.top_p.size(), s.min_p.size(), s.seeds.size(), s.draws.size(),
          s.repetition_penalty.size(), s.presence_penalty.size(), s.frequency_penalty.size()}) {
      need(n == rows, "sampling arrays need one entry a row");
    }
    check_ragged(s.history_starts, s.history_ids, s.history_counts.size(), rows, vocab_);
    check_ragged(s.bias_starts, s.bias_ids, s.bias_values.size(), rows, vocab_);
    if (s.allowed) {
      need(s.allowed->shape(0) == rows && s.allowed->shape(1) == static_cast<size_t>((vocab_ + 31) / 32),
           "the mask has the wrong shape");
      out.allowed = s.allowed->data();
    }
    out.sample = true;
    out.temperature = s.temperature.data();
    out.top_k = s.top_k.data();
    out.top_p = s.top_p.data();
    out.min_p = s.min_p.data();
    out.seeds = s.seeds.data();
    out.draws = s.draws.data();
    out.repetition_penalty = s.repetition_penalty.data();
    out.presence_penalty = s.presence_penalty.data();
    out.frequency_penalty = s.frequency_penalty.data();
    out.history_starts = s.history_starts.data();
    out.history_ids = s.history_ids.data();
    out.history_counts = s.history_counts.data();
    out.bias_starts = s.bias_starts.data();
    out.bias_ids = s.bias_ids.data();
    out.bias_values = s.bias_values.data();
  }

  std::shared_ptr<Memory> memory_;
  int vocab_;
  std::unique_ptr<Executor> executor_;
};

nb::dict cpu_info() {
  const wayra::CpuCount c = wayra::count_cpus();
  nb::dict d;
  d["name"] = wayra::cpu_name();
  d["isas"] = wayra::runnable_isas();
  d["threads"] = c.threads;
  d["affinity"] = c.affinity;
  d["cgroup_cpus"] = c.cgroup;
  d["reason"] = c.reason;
  return d;
}

uint64_t hash_array(Array<const uint8_t> data) {
  nb::gil_scoped_release release;
  return wayra::hash64(data.data(), data.size());
}
nb::dict probe(const std::string& library, int threads, int64_t buffer_bytes, double seconds) {
  need(threads > 0 && buffer_bytes >= threads * 4096LL && seconds >= 0, "bad size of a probe");
  const wayra::KernelTable* kernels = wayra::load_kernels(library);
  wayra::MachinePeaks found{};
  {
    nb::gil_scoped_release release;
    found = wayra::probe(*kernels, threads, buffer_bytes, seconds);
  }
  nb::dict out;
  out["read_gb_s"] = found.read_gb_s;
  out["int8_gop_s"] = found.int8_gop_s;
  out["bf16_gop_s"] = found.bf16_gop_s;
  out["f32_gop_s"] = found.f32_gop_s;
  return out;
}
}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Native CPU core of wayra: packing, and the executor of lowered Programs.";
  m.def("cpu_info", &cpu_info);
  m.def("packed_bytes", &packed_bytes, "format"_a, "rows"_a, "cols"_a);
  m.def("pack", &pack, "format"_a, "rows"_a, "cols"_a, "raw"_a, "row_order"_a.none(), "out"_a, "threads"_a);
  m.def("hash64", &hash_array, "data"_a);
  m.def("probe", &probe, "library"_a, "threads"_a, "buffer_bytes"_a, "seconds"_a);
  nb::class_<Arena>(m, "Arena")
      .def(nb::init<size_t, bool>(), "bytes"_a, "huge_pages"_a)
      .def_static("mapped", &Arena::mapped, "path"_a, "offset"_a, "size"_a)
      .def_prop_ro("size", &Arena::size)
      .def("view", &Arena::view, "offset"_a, "size"_a)
      .def("read", &Arena::read, "path"_a, "offset"_a, "size"_a, "chunk"_a, "hashes"_a, "threads"_a)
      .def("check", &Arena::check, "chunk"_a, "hashes"_a, "threads"_a);
  nb::class_<Sampling>(m, "Sampling")
      .def(
          "__init__",
          [](Sampling* self, Array<const float> temperature, Array<const int32_t> top_k, Array<const float> top_p,
             Array<const float> min_p, Array<const uint64_t> seeds, Array<const uint64_t> draws,
             Array<const float> repetition, Array<const float> presence, Array<const float> frequency,
             Array<const int32_t> history_starts, Array<const int32_t> history_ids, Array<const int32_t> history_counts,
             Array<const int32_t> bias_starts, Array<const int32_t> bias_ids, Array<const float> bias_values,
             std::optional<Table<const uint32_t>> allowed) {
            new (self) Sampling{temperature, top_k,    top_p,       min_p,          seeds,       draws,
                                repetition,  presence, frequency,   history_starts, history_ids, history_counts,
                                bias_starts, bias_ids, bias_values, allowed};
          },
          "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a, "seeds"_a, "draws"_a, "repetition_penalty"_a,
          "presence_penalty"_a, "frequency_penalty"_a, "history_starts"_a, "history_ids"_a, "history_counts"_a,
          "bias_starts"_a, "bias_ids"_a, "bias_values"_a, "allowed"_a.none());
  nb::class_<Model>(m, "Model")
      .def(nb::init<const std::string&, int, std::vector<int>, std::vector<int>, const Arena&>(), "library"_a,
           "threads"_a, "limits"_a, "kv"_a, "arena"_a)
      .def("add_matrix", &Model::add_matrix, "format"_a, "rows"_a, "cols"_a, "offset"_a)
      .def("add_vector", &Model::add_vector, "values"_a)
      .def(
          "add_buffer",
          [](Model& s, int cols, bool per_row, bool f32, bool int8, bool fine, bool words, bool bf16, int shares) {
            return s.executor().add_buffer({cols, per_row, f32, int8, fine, words, bf16}, shares);
          },
          "cols"_a, "per_row"_a, "f32"_a, "int8"_a, "fine"_a, "words"_a, "bf16"_a, "shares"_a)
      .def(
          "set_rope", [](Model& s, int v, float magnitude) { s.executor().set_rope(v, magnitude); }, "inv_freq"_a,
          "magnitude"_a)
      .def(
          "embed", [](Model& s, int matrix, int out) { s.executor().add_op(wayra::EmbedOp{matrix, out}); }, "matrix"_a,
          "out"_a)
      .def(
          "add_rms_norm",
          [](Model& s, int x, int delta, int weight, float eps, int out) {
            s.executor().add_op(wayra::NormOp{x, delta, weight, eps, out});
          },
          "x"_a, "delta"_a, "weight"_a, "eps"_a, "out"_a)
      .def(
          "linear",
          [](Model& s, int in, int out, std::vector<int> parts, int bias, bool quantise_input) {
            s.executor().add_op(wayra::LinearOp{in, out, std::move(parts), bias, quantise_input});
          },
          "x"_a, "out"_a, "parts"_a, "bias"_a, "quantise_input"_a)
      .def(
          "rope_store",
          [](Model& s, int qkv, int out, int layer, std::vector<int> heads) {
            s.executor().add_op(
                wayra::RopeStoreOp{qkv, out, layer, heads.at(0), heads.at(1), heads.at(2), heads.at(3)});
          },
          "qkv"_a, "out"_a, "layer"_a, "heads"_a)
      .def(
          "attention",
          [](Model& s, int q, int out, int layer, std::vector<int> heads, float scale, int window, bool only_rows) {
            s.executor().add_op(
                wayra::AttentionOp{q, out, layer, heads.at(0), heads.at(1), heads.at(2), scale, window, only_rows});
          },
          "q"_a, "out"_a, "layer"_a, "heads"_a, "scale"_a, "window"_a, "only_rows"_a)
      .def(
          "swiglu", [](Model& s, int in, int out) { s.executor().add_op(wayra::SwigluOp{in, out}); }, "x"_a, "out"_a)
      .def(
          "take_rows", [](Model& s, int in, int out) { s.executor().add_op(wayra::TakeRowsOp{in, out}); }, "x"_a,
          "out"_a)
      .def(
          "logits",
          [](Model& s, int in, int matrix, bool quantise_input) {
            s.executor().set_logits({in, matrix, quantise_input});
          },
          "x"_a, "matrix"_a, "quantise_input"_a)
      .def("finish", [](Model& s) { s.executor().finish(); })
      .def(
          "allocate_kv", [](Model& s, int64_t n) { s.executor().allocate_kv(n); }, "num_blocks"_a)
      .def("kv_bytes_per_block", [](Model& s) { return s.executor().kv_bytes_per_block(); })
      .def("start_profile", [](Model& s) { s.executor().start_profile(); })
      .def("stop_profile", [](Model& s) { s.executor().stop_profile(); })
      .def("profile", &Model::profile)
      .def("read_kv", &Model::read_kv, "block_ids"_a, "out"_a)
      .def("write_kv", &Model::write_kv, "block_ids"_a, "data"_a)
      .def("settle", &Model::settle, "max_bytes"_a)
      .def("activation_bytes", [](Model& s) { return s.executor().activation_bytes(); })
      .def("step", &Model::step, "token_ids"_a, "positions"_a, "query_starts"_a, "kv_lens"_a, "block_tables"_a,
           "logit_rows"_a, "targets"_a.none(), "target_logprobs"_a.none(), "logits"_a.none(), "hidden"_a.none(),
           "sampling"_a.none(), "top_ids"_a, "top_logprobs"_a, "out_ids"_a, "out_logprobs"_a);
}
