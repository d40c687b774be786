# iotix_embed_lua(ROOM): compiles lua/iotix/**.lua and the model schema into the room, as the table
# `const struct embedded_file embedded_files[]` of script/embedded.h.
function(iotix_embed_lua room)
  file(GLOB_RECURSE lua CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/lua/iotix/*.lua)
  list(FILTER lua EXCLUDE REGEX "/_meta/")
  file(GLOB schemas CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/models/schema/*.json)
  set(files ${lua} ${schemas})
  list(SORT files)
  list(JOIN files "," joined)
  set(out ${CMAKE_BINARY_DIR}/embedded_files.c)
  set(deps ${files})
  list(TRANSFORM deps PREPEND ${CMAKE_SOURCE_DIR}/)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_SOURCE_DIR} -DFILES=${joined} -DOUT=${out}
            -P ${CMAKE_SOURCE_DIR}/runtime/cmake/embed_files.cmake
    DEPENDS ${deps} ${CMAKE_SOURCE_DIR}/runtime/cmake/embed_files.cmake VERBATIM)
  target_sources(room_${room} PRIVATE ${out})
endfunction()
