# Finds what iotix is built on and, when something is missing, names the Debian package that brings it.

find_package(Threads REQUIRED)
find_package(PkgConfig)
if(NOT PKG_CONFIG_FOUND)
  message(FATAL_ERROR "pkg-config is missing: apt-get install pkg-config (or run deploy/quickstart.sh --deps-only)")
endif()

# iotix_pkg(NAME MODULE DEBIAN_PACKAGE): imported target PkgConfig::NAME
function(iotix_pkg name module package)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${module} is missing: apt-get install ${package} (or run deploy/quickstart.sh --deps-only)")
  endif()
endfunction()

# iotix_lib(NAME HEADER LIBRARY DEBIAN_PACKAGE): for libraries that ship no .pc file; imported target iotix::NAME
function(iotix_lib name header library package)
  find_path(${name}_INCLUDE ${header})
  find_library(${name}_LIBRARY ${library})
  if(NOT ${name}_INCLUDE OR NOT ${name}_LIBRARY)
    message(FATAL_ERROR "${header} or lib${library} is missing: apt-get install ${package} (or run deploy/quickstart.sh --deps-only)")
  endif()
  add_library(iotix_${name} INTERFACE IMPORTED GLOBAL)
  set_target_properties(iotix_${name} PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${${name}_INCLUDE}" INTERFACE_LINK_LIBRARIES "${${name}_LIBRARY}")
  add_library(iotix::${name} ALIAS iotix_${name})
endfunction()

iotix_pkg(luajit luajit libluajit-5.1-dev)
iotix_pkg(jansson jansson libjansson-dev)
iotix_pkg(crypto libcrypto libssl-dev)
iotix_pkg(openssl openssl libssl-dev)
iotix_pkg(curl libcurl libcurl4-openssl-dev)
iotix_pkg(uring liburing liburing-dev)
iotix_pkg(zlib zlib zlib1g-dev)
iotix_pkg(rdkafka rdkafka librdkafka-dev)
iotix_lib(ev ev.h ev libev-dev)
iotix_lib(paho MQTTAsync.h paho-mqtt3as libpaho-mqtt-dev)
iotix_lib(coap coap3/coap.h libcoap-3-openssl.a libcoap3-dev) # static: its datagrams pass through adapter/coap/io.c
# All its bytes, its retransmissions and the beginning of its TLS handshakes pass through adapter/coap (io.c, pipe.c, secure.c).
set_property(TARGET iotix_coap PROPERTY INTERFACE_LINK_OPTIONS
  -Wl,--wrap=coap_network_send -Wl,--wrap=coap_network_read -Wl,--wrap=coap_handle_dgram -Wl,--wrap=coap_retransmit
  -Wl,--wrap=coap_socket_read -Wl,--wrap=coap_socket_write -Wl,--wrap=coap_tls_read -Wl,--wrap=SSL_connect -Wl,--wrap=SSL_accept)
iotix_lib(civetweb civetweb.h civetweb libcivetweb-dev)
iotix_lib(cjson lua5.1/lua-cjson.h lua5.1-cjson lua-cjson-dev)
if(IOTIX_TESTS)
  iotix_pkg(cmocka cmocka libcmocka-dev)
endif()
