# build_version() and build_id(), the same for the addon and the worker of one build: a hash of the native sources,
# taken when any of them changes. A worker of another build is refused by it.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${SOURCE_DIR}/package.json package)
  string(JSON version GET "${package}" version)
  file(GLOB_RECURSE sources RELATIVE ${SOURCE_DIR} ${SOURCE_DIR}/native/*.h ${SOURCE_DIR}/native/*.cpp)
  list(SORT sources)
  set(all "")
  foreach(source ${sources})
    file(SHA256 ${SOURCE_DIR}/${source} hash)
    string(APPEND all "${source} ${hash}\n")
  endforeach()
  string(SHA256 id "${all}")
  string(SUBSTRING ${id} 0 16 id)
  file(WRITE ${OUTPUT} "#include \"worker/messages.h\"\n
std::string kraken::build_version() { return \"${version}\"; }
std::string kraken::build_id() { return \"${id}\"; }\n")
  return()
endif()

file(GLOB_RECURSE kraken_hashed CONFIGURE_DEPENDS native/*.h native/*.cpp)
set(kraken_build_id ${CMAKE_CURRENT_BINARY_DIR}/generated/build_id.cpp)
add_custom_command(OUTPUT ${kraken_build_id}
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${CMAKE_CURRENT_SOURCE_DIR} -DOUTPUT=${kraken_build_id} -P ${CMAKE_CURRENT_LIST_FILE}
  DEPENDS ${kraken_hashed} ${CMAKE_CURRENT_LIST_FILE} ${CMAKE_CURRENT_SOURCE_DIR}/package.json
  COMMENT "Hashing the native sources")
target_sources(kraken_core PRIVATE ${kraken_build_id})
foreach(major ${kraken_tensorrt_majors})
  if(TARGET kraken_tensorrt_trt${major})
    target_sources(kraken_tensorrt_trt${major} PRIVATE ${kraken_build_id})
  endif()
endforeach()
