// Which kernels this processor can run.
#include "kernels.h"

namespace nextword {

#ifdef NEXTWORD_HAS_X86
namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
#endif
#ifdef NEXTWORD_HAS_NEON
namespace neon {
extern const Kernels kernels;
}
#endif
namespace portable {
extern const Kernels kernels;
}

const Kernels* const* available_kernels() {
  static const Kernels* found[4] = {};
  static const bool looked = [] {
    int count = 0;
#ifdef NEXTWORD_HAS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
      found[count++] = &avx512::kernels;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
      found[count++] = &avx2::kernels;
#endif
#ifdef NEXTWORD_HAS_NEON
    found[count++] = &neon::kernels;
#endif
    found[count++] = &portable::kernels;
    return true;
  }();
  (void)looked;
  return found;
}

}  // namespace nextword
