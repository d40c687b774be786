# Installs what a protocol plugin is built with: the headers of the ABI and iotix-plugin.pc. The .pc file finds the
# headers from its own place, so that an installed tree can be moved.
set(plugin_headers adapter/adapter.h adapter/plugin_abi.h core/buf.h core/error.h)
foreach(header IN LISTS plugin_headers)
  get_filename_component(dir ${header} DIRECTORY)
  install(FILES ${CMAKE_SOURCE_DIR}/runtime/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/iotix/${dir})
endforeach()
configure_file(${CMAKE_SOURCE_DIR}/runtime/cmake/iotix-plugin.pc.in ${CMAKE_BINARY_DIR}/iotix-plugin.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/iotix-plugin.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/deploy/plugins DESTINATION ${CMAKE_INSTALL_DATADIR}/iotix)
